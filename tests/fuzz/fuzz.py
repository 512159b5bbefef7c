"""Run the readers on the inputs of a coverage-guided fuzzer (atheris), and check that they fail with our errors only.

    python tests/fuzz/fuzz.py TARGET [--seconds N] [libFuzzer options]

TARGET is the kind of input: `jsonl`, `gzip`, `txt`, `md`, `html`, `json`, `xml`, `csv`, the content of such a source;
`record`, the fields of an article; `policy`, the editor's file; `blocks`, the content of that file; `qrels`, relevance
judgements. A reader may yield articles, report problems, or raise an error of this project. Any other exception, a hang
of a minute, or more than 2 GB of memory is a finding: its input is written to the working directory, and the exit
status is not 0. Inputs that reach new code are stored in tests/fuzz/corpus/TARGET, which git ignores, for the next run.

Articles are processed as in a build: hashes, facets, language, terms. (pip install '.[fuzz]')
"""

import gzip as packer
import importlib
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["recommender"]):
    from recommender import Article
    from recommender.blocks.policy import Policy, Settings
    from recommender.cli.output import plain_text
    from recommender.errors import RecommenderError
    from recommender.evaluation import qrels
    from recommender.filters import facets
    from recommender.sources import Source
    from recommender.sources.record import record_entry
    from recommender.text.language import language_of
    from recommender.text.terms import extract_terms

    for _name in (
        "feed",
        "jsonlist",
        "markdown",
        "page",
        "table",
        "wordpress",
    ):  # which are imported when they are used
        importlib.import_module(f"recommender.sources.{_name}")

SCRATCH_DIR = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
ARTICLE = b'{"id": "a", "title": "T", "text": "Words", "url": "https://x.org/a", "published": "2021-05-17"}\n'
SEEDS = {
    "jsonl": [ARTICLE],
    "gzip": [packer.compress(ARTICLE)],
    "txt": [b"World\n\nA headline of the day\n12 May 2021\n\nIt was said. It was done.\n\nTags: a, b\n"],
    "md": [
        b"---\ntitle: T\ndate: 2026-03-05\ntags: [a]\n---\n# H\n\n[b](b.md) {{< x >}}\n\n## See also\n\n- [c](c)\n",
        b"+++\ntitle = 'T'\n+++\nText\n",
        b"Title: T\nTags: a, b\n\nText\n",
    ],
    "html": [
        b"<html lang=en><head><title>T</title><link rel=canonical href=https://x.org/a></head><body><h1>T</h1>"
        b"<p>Words of an article that are many enough.</p><div class=related><a href=b>b</a></div></body></html>"
    ],
    "json": [
        b'[{"id": 1, "title": "A"}]',
        b'{"db": [{"data": {"posts": [{"id": "1", "title": "A", "html": "<p>x"}]}}]}',
    ],
    "xml": [
        b"<rss version='2.0'><channel><item><title>A</title><link>/a</link></item></channel></rss>",
        b"<rss xmlns:wp='http://wordpress.org/export/1.2/'><channel><item><title>A</title><wp:post_id>1</wp:post_id>"
        b"<wp:post_type>post</wp:post_type></item></channel></rss>",
    ],
    "csv": [b"id,title,text,tags\n1,A,x,a\n2,B,y,b\n"],
    "record": [b"\0" * 64, bytes(range(256))],
    "blocks": [b"\0" * 64, bytes(range(256))],
    "policy": [b"settings:\n  max_age: 12m\npins:\n  a: [b]\nbans:\n  articles: [c]\nrules: []\n"],
    "qrels": [b"q1 0 d1 1\nq1 0 d2 0\n"],
}


def use(article: Article) -> None:
    """Process an article as a build does before the embedding."""
    assert article.id
    assert article.title
    again = Article(**{**article.to_record(), "published": article.published})
    assert again == article
    assert again.record_hash == article.record_hash
    json.dumps(article.to_record(), ensure_ascii=False).encode()
    language = language_of(article.title, article.text, article.language)
    counts = extract_terms(article.title, article.text, language or "en")
    assert all(0 < count <= 65535 for count in counts.values())
    for field, value in facets(article):
        f"{field} {value}".encode()


def read(content: bytes, name: str) -> None:
    """Read a file, and process its articles."""
    file = SCRATCH_DIR / name
    file.write_bytes(content)
    for entry in Source(file):
        assert entry.article or entry.problems
        plain_text(f"{entry.where}: {'; '.join(entry.problems)}").encode()
        if entry.article:
            use(entry.article)


def value(data: atheris.FuzzedDataProvider, depth: int = 3) -> object:
    """Draw a JSON value."""
    kind = data.ConsumeIntInRange(0, 8 if depth else 5)
    if kind in (6, 7):
        return [value(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 4))]
    if kind == 8:
        return {data.ConsumeUnicode(6): value(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 4))}
    return (
        None,
        data.ConsumeBool(),
        data.ConsumeInt(8),
        data.ConsumeFloat(),
        data.ConsumeUnicode(40),
        data.PickValueInList(["a", "b", "2021-05-17", "1", "true", "draft", "https://x.org/a", "12m", "-1d", "\ud800"]),
    )[kind]


def record(content: bytes) -> None:
    """Fuzz the fields of an article."""
    data = atheris.FuzzedDataProvider(content)
    names = [*Article.__dataclass_fields__, "status", "draft", "deleted", "_id", "body"]
    fields = {"id": "a", "title": "T"} if data.ConsumeBool() else {}
    fields |= {data.PickValueInList(names): value(data) for _ in range(data.ConsumeIntInRange(0, 8))}
    if (parsed := record_entry("here", fields)).article:
        use(parsed.article)


def blocks(content: bytes) -> None:
    """Fuzz the policy and the settings of blocks."""
    data = atheris.FuzzedDataProvider(content)
    names = [*Settings.__dataclass_fields__, "x"]
    options = {
        "settings": {data.PickValueInList(names): value(data) for _ in range(data.ConsumeIntInRange(0, 4))},
        "pins": value(data),
        "bans": {"articles": value(data), "pairs": value(data)} if data.ConsumeBool() else value(data),
        "rules": [
            {"name": value(data), "where": value(data), "never_with": value(data), "no_block": value(data)}
            for _ in range(data.ConsumeIntInRange(0, 2))
        ],
    }
    parsed = Policy.from_record(options)
    json.dumps(parsed.to_record()).encode()
    assert Policy.from_record(parsed.to_record()) == parsed


def policy(content: bytes) -> None:
    """Fuzz the file of a policy."""
    file = SCRATCH_DIR / "policy.yaml"
    file.write_bytes(content)
    parsed = Policy.read(file)
    assert Policy.from_record(parsed.to_record()) == parsed


def judgements(content: bytes) -> None:
    """Fuzz relevance judgements."""
    file = SCRATCH_DIR / "qrels.tsv"
    file.write_bytes(content)
    qrels.read(file)


TARGETS = {
    **{kind: partial(read, name=f"a.{kind}") for kind in ("jsonl", "txt", "md", "html", "json", "xml", "csv")},
    "gzip": partial(read, name="a.jsonl.gz"),
    "record": record,
    "policy": policy,
    "blocks": blocks,
    "qrels": judgements,
}


def main() -> None:
    """Run one target until the time is over or there is a finding."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(__doc__)
    name, *options = sys.argv[1:]
    if "--seconds" in options:
        position = options.index("--seconds")
        options[position : position + 2] = [f"-max_total_time={options[position + 1]}"]
    corpus = Path(__file__).parent / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)

    def feed(content: bytes) -> None:
        try:
            TARGETS[name](content)
        except RecommenderError as error:
            plain_text(str(error)).encode()

    limits = ["-timeout=60", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *options], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("TMPDIR", str(SCRATCH_DIR))
    main()
