"""Names of fields that differ from an article's: advice, errors, and the index that remembers them."""

import json

import pytest
from click.testing import CliRunner

from recommender import Article, Recommender, Source, SourceError
from recommender.cli.main import main


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def index(tmp_path):
    with Recommender(tmp_path / "index") as rec:
        rec.build([Article("first", "First article")])
    return tmp_path / "index"


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


RECORDS = [
    {"nr": number, "headline": f"Headline {number}", "body": "Words.", "slug": f"s{number}"} for number in range(9)
]


@pytest.mark.parametrize("command", ["build", "add"])
def test_records_without_an_id_get_one_piece_of_advice(tmp_path, command, index):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    for target in (index, tmp_path / "new"):
        result = run(command, path, "--index", target)
        assert result.exit_code == 1
        assert result.stderr.count("--id-field nr --map title=headline,text=body\n") == 1
        assert "Its fields are nr, headline, body, slug." in result.stderr
        assert f"… and 8 more ({path}:2, {path}:3, {path}:4, …): it has neither an id nor a url.\n" in result.stderr
        assert f"Error: No article could be taken from {path} (9 skipped), the first since" in result.stderr
    assert not (tmp_path / "new").exists()


def test_the_advice_works(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    result = run("build", path, "--index", index, *["--id-field", "nr", "--map", "title=headline,text=body"])
    assert (result.exit_code, result.stderr) == (0, "")
    with Recommender(index) as rec:
        assert (rec.get("3").title, rec.get("3").text) == ("Headline 3", "Words.")


def test_a_name_that_no_record_has_is_an_error(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", [{"id": "1", "headline": "A"}, {"id": "2", "headline": "B", "Keywords": ["x"]}])
    for command in (["read"], ["build", "--index", index], ["add", "--index", index]):
        result = run(command[0], path, *command[1:], "--map", "title=headline,tags=keyword,url=/{slug}")
        assert result.exit_code == 1
        names = "the fields are id, headline, Keywords"
        assert f"No record of {path} has a field 'keyword' and no field 'slug'; {names}." in result.stderr
        assert run(command[0], path, *command[1:], "--map", "title=headline,tags=keywords").exit_code == 0


def test_a_column_that_a_table_lacks_is_an_error_at_once(tmp_path, index):
    path = tmp_path / "a.csv"
    path.write_text("id,headline\n1,A\n")
    result = run("build", path, "--index", index, "--map", "title=title_de")
    assert result.exit_code == 1
    assert f"{path}: it has no field 'title_de'; its fields are id, headline." in result.stderr
    with Recommender(index) as rec:
        assert "1" not in rec
        with pytest.raises(SourceError, match="no field 'title_de'"):
            rec.build(path, fields={"title": "title_de"})


def test_a_template_with_commas(tmp_path):
    path = lines(tmp_path / "a.jsonl", RECORDS[:1])
    result = run("read", path, "--json", "--map", "url=/a,{nr}.html?x=1, title = headline", "--id-field", "slug")
    assert json.loads(result.stdout)["url"] == "/a,0.html?x=1"
    assert json.loads(result.stdout)["title"] == "Headline 0"


def test_the_mapping_is_remembered_for_its_source(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    options = ["--map", "title=headline,text=body,url=/news/{slug}", "--id-field", "nr"]
    assert run("build", path, "--index", index, *options).exit_code == 0
    lines(path, [*RECORDS, {"nr": 9, "headline": "Headline 9"}])
    result = run("build", path, "--index", index)
    assert result.stdout.startswith("1 added, 0 changed, 9 unchanged")
    assert f"{path} is read with --id-field nr --map 'title=headline,text=body,url=/news/{{slug}}'" in result.stderr
    with Recommender(index) as rec:
        assert (rec.get("3").url, rec.get("9").title) == ("/news/s3", "Headline 9")
        assert rec.add(path).unchanged == 10
    other = lines(tmp_path / "b.jsonl", RECORDS)
    assert run("add", other, "--index", index).exit_code == 1


def test_another_mapping_replaces_the_one_that_is_remembered(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    run("build", path, "--index", index, "--map", "id=nr,title=headline")
    assert run("build", path, "--index", index, "--map", "id=nr,title=headlin").exit_code == 1
    assert run("build", path, "--index", index).stdout.startswith("0 added, 0 changed, 9 unchanged")
    assert run("build", path, "--index", index, "--map", "id=slug,title=body").stdout.startswith("9 added")
    assert run("build", path, "--index", index).stdout.startswith("0 added, 0 changed, 9 unchanged")
    lines(path, [{"id": "x", "title": "X", "slug": "y", "body": "Y"}])
    assert run("build", path, "--index", index, "--map", "").exit_code == 0
    run("build", path, "--index", index)
    with Recommender(index) as rec:
        assert rec.get("x").title == "X"
        assert "y" not in rec


def test_a_remembered_name_may_be_missing_in_a_delta(tmp_path, index):
    first = lines(tmp_path / "a.jsonl", [{"id": "1", "title": "A", "keywords": ["x"]}])
    assert run("build", first, "--index", index, "--map", "tags=keywords").exit_code == 0
    delta = lines(tmp_path / "delta.jsonl", [{"id": "2", "title": "B"}])
    assert run("add", delta, "--index", index, "--map", "tags=keywords").exit_code == 0
    (tmp_path / "a.jsonl").write_text(delta.read_text())
    result = run("build", first, "--index", index)
    assert result.exit_code == 0
    assert "has a field 'keywords'" in result.stderr


def test_one_file_is_read_with_the_mapping_that_is_remembered(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    run("build", path, "--index", index, "--map", "title=headline,text=body", "--id-field", "nr")
    draft = lines(tmp_path / "draft.jsonl", [{"nr": 77, "headline": "Ferry", "body": "It sailed."}])
    result = run("related", "--file", draft, "--index", index, "--json")
    assert json.loads(result.stdout)["id"] == "77"
    plain = lines(tmp_path / "plain.jsonl", [{"id": "p", "title": "Pier", "text": "It stood."}])
    with Recommender(index) as rec:
        assert (rec.read(draft).title, rec.read(plain).title) == ("Ferry", "Pier")


def test_fields_that_may_contain_a_missing_value_are_reported_once(tmp_path, index):
    path = lines(tmp_path / "a.jsonl", [{"id": n, "title": "T", "body": "B", "datum": "2026-03-05"} for n in range(3)])
    hint = f"{path}: no article has text or published; the source has fields that may be meant: "
    assert f"{hint}--map text=body,published=datum\n" in run("build", path, "--index", index).stderr
    assert run("build", path, "--index", index).stderr == ""
    assert hint in run("read", path).stderr


def test_a_title_that_is_only_a_sentence_of_the_text_is_reported(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("sep=;\nID;Titel;Text;Veröffentlicht\n1;Planken;Der Rat kauft Holz.;05.03.2021\n".encode("cp1252"))
    assert "--map title=Titel,published=Veröffentlicht" in run("read", path).stderr.replace("'", "")


def test_advice_contains_the_mapping_that_was_given(tmp_path):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    assert "--id-field nr --map title=headline,text=body\n" in run("read", path, "--map", "id=nr,text=gone").stderr
    result = run("read", path, "--id-field", "nr", "--map", "title=headline")
    assert "no article has text; the source has fields" in result.stderr
    assert "--id-field nr --map title=headline,text=body\n" in result.stderr


@pytest.mark.parametrize("name", ["headlin", "Titel"])
def test_a_mapping_of_other_names_is_refused(rec, name):
    with pytest.raises(ValueError, match="no field of an article"):
        rec.build([], fields={name: "x"})


def test_fields_in_python(rec, tmp_path):
    path = lines(tmp_path / "a.jsonl", RECORDS)
    with pytest.raises(SourceError, match=r"fields=\{'id': 'nr', 'title': 'headline', 'text': 'body'\}"):
        rec.build(path)
    assert rec.build(path, fields={"title": "headline"}, id_field="nr").added == 9
    assert rec.build(Source(path)).unchanged == 9
    assert rec.add([{"Headline": "Tenth", "nr": 10.0}], fields={"title": "headline", "id": "nr"}).added == 1
    assert rec.get("10").title == "Tenth"


def test_an_empty_export_is_an_error_and_an_empty_delta_is_none(tmp_path, index):
    for name, content in {"a.jsonl": "", "b.json": "[]", "c.csv": "id,title\n"}.items():
        (tmp_path / name).write_text(content)
        result = run("build", tmp_path / name, "--index", index)
        assert result.exit_code == 1
        assert f"{name} holds no article." in result.stderr
        assert run("add", tmp_path / name, "--index", index).exit_code == 0


def test_one_bad_source_of_two_is_an_error(tmp_path, index):
    good = lines(tmp_path / "a.jsonl", [{"id": "1", "title": "A"}])
    bad = lines(tmp_path / "b.jsonl", [{"id": "2"}])
    result = run("add", good, bad, "--index", index)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 added")
    assert f"No article could be taken from {bad}" in result.stderr
    assert run("build", good, good, "--index", index).exit_code == 0  # all of the second is in the first
