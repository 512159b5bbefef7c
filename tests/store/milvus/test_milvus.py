"""An index on Milvus gives the same results as one in a folder."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from recommender import (
    Article,
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexUnavailableError,
    Recommender,
)
from recommender.cli.main import main
from recommender.errors import IndexPermissionError
from recommender.indexing import copy, pipeline
from recommender.store import Upsert, open_store
from recommender.store.milvus.address import Address
from recommender.store.milvus.rows import primary_key
from recommender.store.milvus.schema import ARTICLES

pytestmark = pytest.mark.slow


def archive(n: int, version: int = 1) -> list[Article]:
    """Return dated articles on ten subjects, in sections, with editorial links."""
    return [
        Article(
            id=f"{i:03}",
            title=f"Title {i} of {i % 10}",
            text=f"subject{i % 10} " + " ".join(f"word{(i * k) % 97}" for k in range(1, 30)) + f" version{version}",
            language="en",
            url=f"https://example.org/{i}",
            published=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i),
            section=f"section {i % 3}",
            tags=(f"tag {i % 4}",),
            related=(f"{(i + 10) % n:03}",) if i % 7 == 0 else (),
        )
        for i in range(n)
    ]


@pytest.fixture
def both(milvus_index, tmp_path, fake_vectors):
    """Indexes of the same articles in a folder and on Milvus."""
    with Recommender(tmp_path / "folder") as folder, Recommender(milvus_index) as remote:
        for rec in (folder, remote):
            rec.build(archive(90))
        yield folder, remote


def have_same_links(first: Recommender, second: Recommender, **options) -> bool:
    """Return whether two indexes have the same blocks, up to near ties: approximate search may differ."""
    different = total = 0
    blocks = zip(*(rec.links(5, now="2030-01-01", **options) for rec in (first, second)), strict=True)
    for (first_id, first_block), (second_id, second_block) in blocks:
        assert (first_id, len(first_block)) == (second_id, len(second_block))
        scores = {link.id: link.score for link in second_block}
        assert all(link.score == pytest.approx(scores.get(link.id, link.score), abs=0.005) for link in first_block)
        different += sum(
            (link.id, link.via) != (other.id, other.via) for link, other in zip(first_block, second_block, strict=True)
        )
        total += len(first_block)
    return different <= 0.02 * total


def test_milvus_gives_the_same_results_as_a_folder(both):
    folder, remote = both
    assert have_same_links(remote, folder)
    assert have_same_links(remote, folder, plain=True)
    for options in (
        {"section": "section 1"},
        {"tags": ["tag 1", "tag 2"], "after": "2024-02-01", "before": "2024-03-01"},
        {"where": {"section": "nowhere"}},
        {"sections": "other", "half_life": 90},
        {"fill": "section", "k": 8},
        {"exclude": ["010", "020"], "diversity": 0.9},
    ):
        k = options.pop("k", 4)
        expected, actual = (rec.related("000", k, now="2030-01-01", **options) for rec in (folder, remote))
        assert [(link.id, link.via) for link in actual] == [(link.id, link.via) for link in expected], options
        assert [link.score for link in actual] == pytest.approx([link.score for link in expected], abs=0.005)
    why = [rec.related("001", 3, why=True)[0].reasons for rec in both]
    assert [by for _, by in why[0].words] == [by for _, by in why[1].words]  # ties: terms may differ
    assert why[0].raw_score == pytest.approx(why[1].raw_score, abs=0.005)
    assert remote.why_not("001", "002").reason == folder.why_not("001", "002").reason
    assert [link.id for link in remote.search("subject3 word5")] == [
        link.id for link in folder.search("subject3 word5")
    ]
    assert remote.matching({"section": "section 2"}) == folder.matching({"section": "section 2"}) == 30
    assert list(remote) == list(folder)
    assert list(remote.verify()) == []


def test_changes_and_the_policy_take_effect_on_milvus(both, tmp_path):
    folder, remote = both
    states = {rec: tmp_path / f"state {number}" for number, rec in enumerate(both)}
    for rec in both:
        with rec.changed_links(states[rec], 3) as changed:
            assert len(list(changed.blocks)) == 90
    changed_ids = []
    for rec in both:
        report = rec.build(archive(80, version=2)[:10] + archive(80)[10:], prune=True, prune_limit=20)
        assert (report.changed, report.removed) == (10 + sum(i % 7 == 0 for i in range(70, 80)), 10)
        rec.add([Article("new", "Title 3 of 3", "subject3 word1 word2 word3 word4", language="en")])
        assert rec.remove("005", "none") == ["005"]
        rec.pin("001", "050")
        rec.ban("011")
        rec.ban("002", "012")
        rec.set_rule({"name": "r", "where": {"section": "section 2"}, "never_recommended": True})
        rec.configure(diversity=0.1)
        with rec.changed_links(states[rec], 3) as changed:
            changed_ids.append([id for id, _ in changed.blocks])
    assert changed_ids[0] == changed_ids[1]
    assert have_same_links(remote, folder)
    facts = [rec.info() for rec in both]
    assert facts[0]["editorial_links"] == facts[1]["editorial_links"]
    assert (facts[0]["sections"], facts[0]["languages"]) == (facts[1]["sections"], facts[1]["languages"])
    assert list(remote.verify()) == []


def test_commands_print_the_same_for_milvus_as_for_a_folder(both, milvus_index):
    folder, _ = both
    both[1].close()
    for arguments in (["related", "003", "--json"], ["search", "subject3", "--json"], ["verify"]):
        results = [
            CliRunner().invoke(main, [*arguments, "--index", index]) for index in (str(folder.path), milvus_index)
        ]
        assert [result.exit_code for result in results] == [0, 0], results[1].output
        if "--json" in arguments:
            links = [next(iter(reversed(json.loads(result.stdout).values()))) for result in results]
            ids = [[link["id"] for link in block] for block in links]
            assert ids[0] == ids[1]
    info = CliRunner().invoke(main, ["info", "--index", milvus_index])
    assert "articles  90" in info.output


def test_addresses_are_parsed_and_displayed_without_secrets(monkeypatch):
    address = Address.parse("milvus://user:p%40ss@host.example:1234/news?tls=true&database=prod")
    assert (address.uri, address.token) == ("https://host.example:1234", "user:p@ss")
    assert (address.name, address.database) == ("news", "prod")
    assert address.display == "milvus://host.example:1234/news?database=prod"
    assert "p@ss" not in repr(address)
    monkeypatch.setenv("RECOMMENDER_MILVUS_TOKEN", "key")
    assert Address.parse("milvus://[::1]/news") == Address(
        "http://[::1]:19530", "news", "milvus://[::1]:19530/news", "key"
    )
    for invalid in (
        "milvus://host/a?tls=yes",
        "milvus://host/a_terms",
        "milvus://host",
        "milvus://host/a-b",
        "milvus:/x",
        "milvus://host:x/a",
        "milvus://u:secret@h/a?b=c",
    ):
        with pytest.raises(IndexNotFoundError, match="milvus://HOST:19530/NAME") as error:
            Recommender(invalid)
        assert "secret" not in str(error.value)


def test_an_unreachable_server_is_reported_without_the_password(monkeypatch):
    monkeypatch.setattr("recommender.store.milvus.connection.CONNECT_SECONDS", 0.5)
    result = CliRunner().invoke(main, ["info", "--index", "milvus://user:secret@127.0.0.1:1/news"])
    assert result.exit_code == 1
    assert "The index milvus://127.0.0.1:1/news cannot be reached" in result.output
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_reading_a_missing_lite_database_creates_none(tmp_path):
    with (
        pytest.raises(IndexNotFoundError, match="recommender build SOURCE --index"),
        Recommender(tmp_path / "none.db") as rec,
    ):
        rec.related("a")
    assert list(tmp_path.iterdir()) == []


def test_a_lite_database_that_another_process_has_open_is_reported(tmp_path):
    from milvus_lite import MilvusLite

    with MilvusLite(str(tmp_path / "a.db")), pytest.raises(IndexLockedError, match="serves one at a time"):
        Recommender(tmp_path / "a.db").info()


def test_without_pymilvus_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(IndexUnavailableError, match=r"pip install 'recommender\[milvus\]'"):
        Recommender("milvus://127.0.0.1:1/news").info()


def test_a_collection_of_another_program_is_left_alone(tmp_path, articles, fake_vectors):
    from pymilvus import MilvusClient

    client = MilvusClient(str(tmp_path / "a.db"))
    client.create_collection("articles", dimension=4)
    client.close()
    with Recommender(tmp_path / "a.db") as rec, pytest.raises(IndexLockedError, match="no part of this index"):
        rec.build(articles)
    client = MilvusClient(str(tmp_path / "a.db"))
    assert client.list_collections() == ["articles"]
    client.close()


@pytest.mark.parametrize(
    ("message", "error", "advice"),
    [
        ("auth check failure, please check username", IndexPermissionError, "RECOMMENDER_MILVUS_TOKEN"),
        ("quota exceeded: memory", IndexUnavailableError, "no room"),
        ("rpc error: unavailable", IndexUnavailableError, "run the same command again"),
    ],
)
def test_a_refused_batch_is_reported_and_changes_nothing(
    tmp_path, articles, fake_vectors, monkeypatch, message, error, advice
):
    """Simulated refusals: each real one would need a server of its own set-up."""
    from pymilvus.exceptions import MilvusException

    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles[:3])
        before = list(rec)
        client = rec._store._connection.client
        upsert, refused = client.upsert, []

        def refuse_articles(collection, data, **options):
            if collection != "articles":
                return upsert(collection, data, **options)
            refused.append(collection)
            raise MilvusException(code=9, message=message)

        with monkeypatch.context() as patch:
            patch.setattr(client, "upsert", refuse_articles)
            with pytest.raises(error, match=advice):
                rec.add(articles[3:])
        assert refused
        assert list(rec) == before
        assert rec.build(articles).added == 3
        assert list(rec.verify()) == []


def test_a_damaged_row_is_reported_and_can_be_removed(tmp_path, articles, fake_vectors):
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles)
        client = rec._store._connection.client
        (row,) = client.query("articles", filter=f'pk == "{primary_key("dam-2")}"', output_fields=["*"])
        client.upsert("articles", [{**row, "record": row["record"].replace("collapse", "succeed")}])
        with pytest.raises(IndexDamagedError, match="'dam-2' is not what was written"):
            rec.related("dam-2")
        assert any("'dam-2'" in problem for problem in rec.verify())
        assert rec.remove("dam-2") == ["dam-2"]
        assert list(rec.verify()) == []
        assert rec.build(articles).added == 1
        assert list(rec.verify()) == []


def test_an_add_to_a_large_archive_needs_no_repair(tmp_path, fake_vectors, monkeypatch):
    """In large archives, the hubness of the neighbours of a new article is computed after the batch."""
    monkeypatch.setattr("recommender.store.milvus.writer.SMALL_ARCHIVE_ARTICLES", 10)
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(archive(60))
        rec.add([Article("new", "Title 3 of 3", "subject3 word1 word2 word3", language="en")])
        assert list(rec.verify()) == []
        assert rec._store.stale_hubness_ids() == []


def test_two_simultaneous_first_builds_do_not_mix(tmp_path, articles, fake_vectors):
    """The second begins to write after the first has created the index."""
    with Recommender(tmp_path / "a.db") as first, Recommender(tmp_path / "a.db") as second:
        settings = {"model": {"name": "m", "hash": "0", "dimensions": 384, "max_tokens": 1}}
        raises = pytest.raises(IndexLockedError, match="is being written by")
        with first._store.write_lock(), raises, second._store.write_lock():
            first._store.create(settings)
            first._store.write(upserts(articles[:3]))
            second._store.create(settings)
            second._store.write(upserts(articles[3:]))
        assert list(first._store.ids()) == sorted(article.id for article in articles[:3])


def upserts(articles: list[Article]) -> list[Upsert]:
    vector = np.ones(384, dtype=np.float32) / np.sqrt(384)
    return [Upsert(article, "s", vector, {"all": 1, article.id: 2}, "en", False) for article in articles]


def test_a_first_build_can_be_repeated_after_an_interruption(tmp_path, articles, fake_vectors, monkeypatch):
    with Recommender(tmp_path / "a.db") as rec:
        connection, upsert = rec._store._connection, rec._store._connection.upsert

        def interrupt(collection, rows):
            if collection == "":
                raise KeyboardInterrupt
            upsert(collection, rows)

        with monkeypatch.context() as patch:
            patch.setattr(connection, "upsert", interrupt)
            with pytest.raises(KeyboardInterrupt):
                rec.build(articles)
        rec.build(articles)
        assert list(rec.verify()) == []
        assert rec._store.lookup_terms("en", ["river"])["river"][1] <= len(articles)


def test_scores_are_valid_if_counts_exceed_the_articles(tmp_path, articles, fake_vectors):
    """Between the two writes, or after a kill, a document frequency may exceed the number of articles."""
    with Recommender(tmp_path / "a.db") as rec:
        rec.build([replace(article, text=f"{article.text} Everywhere news.") for article in articles])
        connection = rec._store._connection
        pages = connection.pages("terms", "", ["language", "term", "document_frequency", "unused"])
        connection.upsert("terms", [{**row, "document_frequency": 50} for page in pages for row in page])
        rec.close()
        assert all(0 <= link.score <= 1 for _, block in rec.links(3, plain=True) for link in block)


def test_an_article_that_is_replaced_during_a_read_is_not_reported_as_damaged(
    tmp_path, articles, fake_vectors, monkeypatch
):
    with Recommender(tmp_path / "a.db") as rec, Recommender(tmp_path / "a.db") as writer:
        rec.build(articles)
        get, replacements = rec._store._state.documents.get, []

        def get_after_replacing(names):
            if not replacements and any(name.startswith("text/") for name in names):
                replacements.append(writer.add([replace(articles[0], text="Other words of the dam.")]))
            return get(names)

        monkeypatch.setattr(rec._store._state.documents, "get", get_after_replacing)
        assert rec.get(articles[0].id).text == "Other words of the dam."


def test_wrong_counts_are_reported_and_repaired(tmp_path, articles, fake_vectors):
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles)
        connection = rec._store._connection
        page = next(connection.pages("terms", "", ["language", "term", "document_frequency", "unused"]))
        connection.upsert("terms", [{**page[0], "document_frequency": 99}])
        connection.upsert("hubness", [{"pk": primary_key("nobody"), "hubness": 0.0, "round": 1, "unused": [0.0, 0.0]}])
        assert len(list(rec.verify())) == 2
        assert list(rec.verify(repair=True)) == []


def test_the_links_of_all_articles_are_read_in_one_scan(tmp_path, fake_vectors, monkeypatch):
    monkeypatch.setattr("recommender.store.milvus.articles.BATCH_ROWS", 20)
    targets = (
        "https://example.org/20",
        "Title 30 of 0",
        "011",
        "nowhere",
        "020",
        *(f"none {n}" * 50 for n in range(900)),
    )
    articles = archive(90)
    with Recommender(tmp_path / "a.db") as rec, Recommender(tmp_path / "folder") as folder:
        for index in (rec, folder):
            index.build([*articles[:10], replace(articles[10], related=targets, links=("012",)), *articles[11:]])
        queries, scans = [], []
        for name, requests in (("query", queries), ("pages", scans)):
            monkeypatch.setattr(
                rec._store._connection, name, recording(getattr(rec._store._connection, name), requests)
            )
        links = rec._store.links("related")
        assert scans == [(ARTICLES, "")]
        assert [request for request in queries if request[0] == ARTICLES] == [(ARTICLES, 'pk == ""')]  # by `pages`
        assert links["010"] == ["020", "030", "011"]
        assert (
            links == folder._store.links("related") == rec._store.links("related", [article.id for article in articles])
        )
        assert rec._store.links("links") == {"010": ["012"]}


def test_a_document_that_is_replaced_during_a_snapshot_is_read_again(tmp_path, articles, fake_vectors):
    def put(text: str | None) -> None:
        with writer._store.write_lock():
            writer._store.put_document("learned", text)

    with Recommender(tmp_path / "a.db") as rec, Recommender(tmp_path / "a.db") as writer:
        rec.build(articles)
        for text in ("second", None):
            put("first")
            with rec._store.snapshot():
                assert rec._store.document_names() == ["learned"]
                put(text)
                assert rec._store.document("learned") == text


def recording(function, requests: list[tuple[str, str]]):
    """Return a function that also appends the collection and the filter of each request."""

    def call(collection, where, *arguments, **options):
        requests.append((collection, where))
        return function(collection, where, *arguments, **options)

    return call


# Tests that kill a server, which is started for them.


def test_a_build_can_be_repeated_after_the_server_was_killed(
    request, own_milvus_server, tmp_path, fake_vectors, monkeypatch
):
    server = own_milvus_server
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 32)
    monkeypatch.setattr("recommender.store.milvus.connection.CALL_SECONDS", 5.0)
    index, articles = f"milvus://{server.address}/test_killed", archive(300)
    with Recommender(tmp_path / "folder") as folder:
        folder.build(articles)
        expected = copy._checksum(folder._store, 300, lambda *progress: None)

    def kill(progress):
        if progress.stage == "reading" and progress.embedded >= 128:
            server.kill()

    with Recommender(index) as rec, pytest.raises(IndexUnavailableError, match="run the same command again"):
        rec.build(articles, on_progress=kill)
    server.start()
    monkeypatch.setattr("recommender.store.milvus.connection.CALL_SECONDS", 60.0)
    with Recommender(index) as rec:
        acknowledged = len(list(rec._store.ids()))
        assert acknowledged >= 96
        report = rec.build(articles)
        assert (report.unchanged, report.added) == (acknowledged, 300 - acknowledged)
        assert copy._checksum(rec._store, 300, lambda *progress: None) == expected
        assert list(rec.verify()) == []
    server.drop("test_killed")


def test_a_build_waits_for_a_restarting_server(own_milvus_server, fake_vectors, monkeypatch):
    server = own_milvus_server
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 32)
    index, articles = f"milvus://{server.address}/test_restarted", archive(160)
    restarted = threading.Thread(target=server.start)

    def kill(progress):
        if progress.stage == "reading" and progress.embedded >= 64 and restarted.ident is None:
            server.kill()
            restarted.start()

    with Recommender(index) as rec:
        assert rec.build(articles, on_progress=kill).added == 160
        restarted.join()
        assert len(rec) == 160
        assert list(rec.verify()) == []
        rec.close()
        with open_store(index).write_lock():  # the lease was given up
            pass
    server.drop("test_restarted")


@pytest.fixture
def own_milvus_server(request):
    if request.config.getoption("--milvus") != "own":
        pytest.skip("kills a server: `make test-milvus`")
    return request.getfixturevalue("milvus_server")
