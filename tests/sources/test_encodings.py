import json

import pytest

from recommender.sources import Source
from recommender.sources.entry import decode

TEXTS = {
    "de": "Der Bürgermeister sprach über Bretter für den Steg am Fluß.",
    "fr": "L’été où le maire a réparé la jetée, c’était très cher.",
    "es": "El próximo año el alcalde dará más dinero. ¿Cuándo? ¡Mañana!",
    "pt": "A reunião da câmara não é amanhã, são três dias depois.",
    "it": "La città è più bella perché c’è il mare, ma non si può.",
    "sv": "Borgmästaren åkte över ån i går.",
    "da": "På øen var der en gæst på en bænk.",
    "nl": "Een coëfficiënt en één idee.",
}
OTHER_TEXTS = {
    "cp1250": "Rada miasta rozmawiała o nowym moście, który będzie łączyć dzielnice. Źródło: urząd.",
    "cp1251": "Городской совет обсудил новый мост через реку.",
    "cp1253": "Ο δήμαρχος μίλησε για τη γέφυρα.",
    "shift_jis": "市長は橋について話した。来年に完成する予定だ。",
    "gbk": "市长谈到了新桥的建设，明年完工。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_short_western_texts_in_cp1252_are_read(language):
    assert decode(TEXTS[language].encode("cp1252")) == TEXTS[language]


@pytest.mark.parametrize("encoding", OTHER_TEXTS)
def test_texts_in_other_encodings_are_not_taken_for_cp1252(encoding):
    assert decode(OTHER_TEXTS[encoding].encode(encoding)) == OTHER_TEXTS[encoding]


@pytest.mark.parametrize("text", [*TEXTS.values(), *OTHER_TEXTS.values()])
def test_a_stray_byte_in_utf8_costs_only_itself(text):
    assert decode(f"{text}\n".encode() + b"Caf\xe9 \x93bar\x94\n" + text.encode()) == f"{text}\nCafé “bar”\n{text}"
    assert decode(text.encode() + "é".encode()[:1]) == text + "Ã"
    assert decode(text.encode() + "…".encode()[:2]) == text + "\ufffd"


def test_a_declared_encoding_is_used():
    page = '<meta charset="iso-8859-2"><p>Źródło'
    assert decode(page.encode("iso-8859-2")) == page
    page = '<meta charset="no-such"><p>Café'
    assert decode(page.encode("cp1252")) == page


@pytest.mark.parametrize("name", ["a.md", "a.jsonl", "a.json", "a.ndjson", "a.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16(tmp_path, name, encoding):
    mark = "" if encoding == "utf-16" or name.startswith("a.json") or name.startswith("a.nd") else "\ufeff"
    rows = [{"id": "a", "title": "Žlutý kůň", "text": "日本"}, {"id": "b", "title": "B", "text": "b"}]
    text = {
        "a.md": "---\ntitle: Žlutý kůň\n---\n日本",
        "a.json": json.dumps(rows, ensure_ascii=False),
        "a.csv": "id,title,text\na,Žlutý kůň,日本\nb,B,b\n",
    }.get(name, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    (tmp_path / name).write_bytes((mark + text).encode(encoding))
    first, *others = [entry.article for entry in Source(tmp_path / name)]
    assert (first.title, first.text) == ("Žlutý kůň", "日本")
    assert [article.id for article in others] == ([] if name == "a.md" else ["b"])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=;", '"sep=;"', "\ufeffsep=;"])
def test_tables_with_any_line_end_and_a_line_that_names_the_separator(tmp_path, end, first):
    lines = [first] * bool(first) + ["id;title,of;text", "a;Ferry, boat;It sailed, at dawn, to, the, pier"]
    (tmp_path / "a.csv").write_bytes(end.join(lines).encode() + end.encode())
    (entry,) = Source(tmp_path / "a.csv", fields={"title": "title,of"})
    assert (entry.article.title, entry.article.text) == ("Ferry, boat", "It sailed, at dawn, to, the, pier")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_stray_byte_in_a_text_file_or_a_line_costs_only_itself(tmp_path, name):
    text = {
        "a.txt": "Straße\n\nDie Fähre: Caf@.\n",
        "a.jsonl": '{"id": "a", "title": "Straße", "text": "Die Fähre: Caf@."}\n',
    }
    (tmp_path / name).write_bytes(text[name].encode().replace(b"@", b"\xe9"))
    (entry,) = Source(tmp_path / name)
    assert (entry.article.title, entry.article.text) == ("Straße", "Die Fähre: Café.")


def test_a_stray_byte_in_a_table_costs_only_itself(tmp_path):
    (tmp_path / "a.csv").write_bytes("id,title\na,Straße\nb,Fähre\n".encode() + b"c,Caf\xe9\n")
    assert [entry.article.title for entry in Source(tmp_path / "a.csv")] == ["Straße", "Fähre", "Café"]
