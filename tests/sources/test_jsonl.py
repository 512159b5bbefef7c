import gzip
import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.sources import Source


def read(path: Path):
    return list(Source(path))


def test_reads_every_field(tmp_path):
    record = {
        "id": "a",
        "title": "T",
        "text": "Words.",
        "url": "https://x.org/a",
        "published": "2021-05-17T10:00:00Z",
        "section": "World",
        "tags": ["x", "y"],
        "language": "en",
        "related": ["b", "https://x.org/c", "Some title"],
        "links": ["d"],
        "recommend": False,
        "block": False,
        "image": "i.png",
    }
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(record) + "\n")
    (entry,) = read(file)
    got = entry.article.to_record()
    assert got.pop("metadata") == {"image": "i.png"}
    assert got.pop("published") == "2021-05-17T10:00:00+00:00"
    assert got == {name: value for name, value in record.items() if name not in ("image", "published")}


def test_bad_lines_cost_themselves_alone_and_are_named(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        b'{"id": "a", "title": "A"}\n'
        b"not json\n"
        b"\n"
        b'{"id": "b", "title": NaN}\n'
        b'{"id": "c"}\n'
        b'{"title": "neither id nor url"}\n'
        b"[1]\n"
        b'{"id": "\xff", "title": "x"}\n' + b'{"id": "d", "x": ' + b"[" * 100_000 + b"\n"
        b'{"id": "e", "title": "E"}\n'
    )
    entries = read(file)
    assert [entry.article.id for entry in entries if entry.article] == ["a", "e"]
    skipped = {entry.where: entry for entry in entries if not entry.article}
    assert list(skipped) == [f"{file}:{line}" for line in (2, 4, 5, 6, 7, 8, 9)]
    assert all(entry.problems for entry in skipped.values())
    assert [entry.unknown for entry in skipped.values()] == [True, True, False, True, True, True, True]
    assert skipped[f"{file}:5"].id == "c"


def test_gzip_reads_as_plain(tmp_path):
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_text("".join(json.dumps({"id": str(i), "title": "t"}) + "\n" for i in range(50)))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [e.article for e in read(plain)] == [e.article for e in read(packed)]


def test_truncated_gzip_yields_its_readable_articles_and_is_reported(tmp_path):
    lines = "".join(json.dumps({"id": str(i), "title": f"{i * 7919:x}"}) + "\n" for i in range(5000))
    packed = gzip.compress(lines.encode())
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(packed[: len(packed) // 2])
    *whole, last = read(file)
    assert len(whole) > 100
    assert all(entry.article for entry in whole)
    assert last.failed
    assert "cut short" in last.problems[0]


def test_files_that_are_not_gzip_are_reported(tmp_path):
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(b"plain text")
    (entry,) = read(file)
    assert entry.failed
    assert "not gzip" in entry.problems[0]


def test_a_truncated_last_line_is_reported(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "a", "title": "A"}\n{"id": "b", "ti')
    entry = read(file)[-1]
    assert entry.unknown
    assert "cut short" in entry.problems[0]


def test_position_reaches_the_size(tmp_path):
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"id": "a", "title": "A"}\n' * 1000))
    source = Source(file)
    for _ in source:
        assert 0 <= source.bytes_read <= source.total_bytes
    assert source.bytes_read == source.total_bytes == file.stat().st_size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_entries_and_no_error(tmp_path, content):
    file = tmp_path / "any.jsonl"
    file.write_bytes(content)
    for entry in read(file):
        assert entry.article or entry.problems
