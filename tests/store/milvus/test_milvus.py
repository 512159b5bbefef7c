"""The whole of it on Milvus: what is found is what the folder's index finds."""

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
from recommender.store.milvus.rows import key_of

pytestmark = pytest.mark.slow


def archive(n: int, version: int = 1) -> list[Article]:
    """Articles on ten subjects, dated, in sections, with links of their own."""
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
def both(milvus_place, tmp_path, given_vectors):
    """The same articles in a folder and on Milvus."""
    with Recommender(tmp_path / "folder") as folder, Recommender(milvus_place) as there:
        for rec in (folder, there):
            rec.build(archive(90))
        yield folder, there


def same_links(one: Recommender, other: Recommender, **options) -> bool:
    """Tell whether two indexes give the same blocks, but for what is as good as a tie: candidates may differ."""
    differ = total = 0
    for (id, block), (same_id, same) in zip(
        *(rec.links(5, now="2030-01-01", **options) for rec in (one, other)), strict=True
    ):
        assert (id, len(block)) == (same_id, len(same))
        scores = {link.id: link.score for link in same}
        assert all(link.score == pytest.approx(scores.get(link.id, link.score), abs=0.005) for link in block)
        differ += sum((link.id, link.via) != (there.id, there.via) for link, there in zip(block, same, strict=True))
        total += len(block)
    return differ <= 0.02 * total


def test_everything_works_there_as_it_does_in_a_folder(both):
    folder, there = both
    assert same_links(there, folder)
    assert same_links(there, folder, plain=True)
    for options in (
        {"section": "section 1"},
        {"tags": ["tag 1", "tag 2"], "after": "2024-02-01", "before": "2024-03-01"},
        {"where": {"section": "nowhere"}},
        {"sections": "other", "half_life": 90},
        {"fill": "section", "k": 8},
        {"exclude": ["010", "020"], "diversity": 0.9},
    ):
        k = options.pop("k", 4)
        one, other = (rec.related("000", k, now="2030-01-01", **options) for rec in (folder, there))
        assert [(link.id, link.via) for link in one] == [(link.id, link.via) for link in other], options
        assert [link.score for link in one] == pytest.approx([link.score for link in other], abs=0.005)
    why = [rec.related("001", 3, why=True)[0].reasons for rec in both]
    assert [by for _, by in why[0].words] == [by for _, by in why[1].words]  # some are as strong as others
    assert why[0].raw_score == pytest.approx(why[1].raw_score, abs=0.005)
    assert there.why_not("001", "002").reason == folder.why_not("001", "002").reason
    assert [link.id for link in there.search("subject3 word5")] == [link.id for link in folder.search("subject3 word5")]
    assert there.matching({"section": "section 2"}) == folder.matching({"section": "section 2"}) == 30
    assert list(there) == list(folder)
    assert list(there.verify()) == []


def test_changes_and_the_editors_hand_are_seen_there_too(both, tmp_path):
    folder, there = both
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
    assert same_links(there, folder)
    facts = [rec.info() for rec in both]
    assert facts[0]["editorial_links"] == facts[1]["editorial_links"]
    assert (facts[0]["sections"], facts[0]["languages"]) == (facts[1]["sections"], facts[1]["languages"])
    assert list(there.verify()) == []


def test_the_command_says_what_it_says_of_a_folder(both, milvus_place):
    folder, _ = both
    both[1].close()
    for arguments in (["related", "003", "--json"], ["search", "subject3", "--json"], ["verify"]):
        answers = [
            CliRunner().invoke(main, [*arguments, "--index", place]) for place in (str(folder.path), milvus_place)
        ]
        assert [answer.exit_code for answer in answers] == [0, 0], answers[1].output
        if "--json" in arguments:
            ids = [
                [link["id"] for link in next(iter(reversed(json.loads(answer.stdout).values())))] for answer in answers
            ]
            assert ids[0] == ids[1]
    shown = CliRunner().invoke(main, ["info", "--index", milvus_place])
    assert "articles  90" in shown.output


def test_addresses_are_read_and_hold_no_secret_when_shown(monkeypatch):
    address = Address.of("milvus://user:p%40ss@host.example:1234/news?tls=true&database=prod")
    assert (address.uri, address.token) == ("https://host.example:1234", "user:p@ss")
    assert (address.name, address.database) == ("news", "prod")
    assert address.shown == "milvus://host.example:1234/news?database=prod"
    assert "p@ss" not in repr(address)
    monkeypatch.setenv("RECOMMENDER_MILVUS_TOKEN", "key")
    assert Address.of("milvus://[::1]/news") == Address(
        "http://[::1]:19530", "news", "milvus://[::1]:19530/news", "key"
    )
    for wrong in (
        "milvus://host/a?tls=yes",
        "milvus://host/a_terms",
        "milvus://host",
        "milvus://host/a-b",
        "milvus:/x",
        "milvus://host:x/a",
        "milvus://u:secret@h/a?b=c",
    ):
        with pytest.raises(IndexNotFoundError, match="milvus://HOST:19530/NAME") as told:
            Recommender(wrong)
        assert "secret" not in str(told.value)


def test_a_server_that_is_not_there_is_told_without_the_password(monkeypatch):
    monkeypatch.setattr("recommender.store.milvus.engine.CONNECT_SECONDS", 0.5)
    result = CliRunner().invoke(main, ["info", "--index", "milvus://user:secret@127.0.0.1:1/news"])
    assert result.exit_code == 1
    assert "The index milvus://127.0.0.1:1/news cannot be reached" in result.output
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_asking_for_a_database_that_is_not_there_makes_none(tmp_path):
    with (
        pytest.raises(IndexNotFoundError, match="recommender build SOURCE --index"),
        Recommender(tmp_path / "none.db") as rec,
    ):
        rec.related("a")
    assert list(tmp_path.iterdir()) == []


def test_a_lite_database_that_another_process_has_open_is_told(tmp_path):
    from milvus_lite import MilvusLite

    with MilvusLite(str(tmp_path / "a.db")), pytest.raises(IndexLockedError, match="serves one at a time"):
        Recommender(tmp_path / "a.db").info()


def test_without_pymilvus_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(IndexUnavailableError, match=r"pip install 'recommender\[milvus\]'"):
        Recommender("milvus://127.0.0.1:1/news").info()


def test_a_collection_of_someone_else_is_left_alone(tmp_path, articles, given_vectors):
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
    ("message", "error", "told"),
    [
        ("auth check failure, please check username", IndexPermissionError, "RECOMMENDER_MILVUS_TOKEN"),
        ("quota exceeded: memory", IndexUnavailableError, "no room"),
        ("rpc error: unavailable", IndexUnavailableError, "run the same command again"),
    ],
)
def test_what_the_server_refuses_is_told_and_kept_apart(
    tmp_path, articles, given_vectors, monkeypatch, message, error, told
):
    """The server's refusals stand in: a real one of each kind needs a server set up for it."""
    from pymilvus.exceptions import MilvusException

    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles[:3])
        before = list(rec)
        client = rec._store._engine.client
        upsert, refused = client.upsert, []

        def some(collection, data, **options):
            if collection != "articles":
                return upsert(collection, data, **options)
            refused.append(collection)
            raise MilvusException(code=9, message=message)

        with monkeypatch.context() as patch:
            patch.setattr(client, "upsert", some)
            with pytest.raises(error, match=told):
                rec.add(articles[3:])
        assert refused
        assert list(rec) == before
        assert rec.build(articles).added == 3  # as though nothing had happened
        assert list(rec.verify()) == []


def test_a_row_that_is_damaged_is_found_and_can_be_removed(tmp_path, articles, given_vectors):
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles)
        client = rec._store._engine.client
        (row,) = client.query("articles", filter=f'pk == "{key_of("dam-2")}"', output_fields=["*"])
        client.upsert("articles", [{**row, "record": row["record"].replace("collapse", "succeed")}])
        with pytest.raises(IndexDamagedError, match="'dam-2' is not what was written"):
            rec.related("dam-2")
        assert any("'dam-2'" in problem for problem in rec.verify())
        assert rec.remove("dam-2") == ["dam-2"]
        assert list(rec.verify()) == []
        assert rec.build(articles).added == 1
        assert list(rec.verify()) == []


def test_an_add_to_a_large_archive_leaves_nothing_to_be_made_right(tmp_path, given_vectors, monkeypatch):
    """Past a thousand articles the hubness of those near to a new one is found anew, after the batch is finished."""
    monkeypatch.setattr("recommender.store.milvus.store.SMALL", 10)
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(archive(60))
        rec.add([Article("new", "Title 3 of 3", "subject3 word1 word2 word3", language="en")])
        assert list(rec.verify()) == []
        assert rec._store.stale_hubness_ids() == []


def test_two_first_builds_at_once_do_not_mix(tmp_path, articles, given_vectors):
    """The second comes to write when the first has made the index."""
    with Recommender(tmp_path / "a.db") as one, Recommender(tmp_path / "a.db") as other:
        settings = {"model": {"name": "m", "hash": "0", "dimensions": 384, "max_tokens": 1}}
        told = pytest.raises(IndexLockedError, match="is being written by")
        with one._store.write_lock(), told, other._store.write_lock():
            one._store.create(settings)
            one._store.write(changes_of(articles[:3]))
            other._store.create(settings)
            other._store.write(changes_of(articles[3:]))
        assert list(one._store.ids()) == sorted(article.id for article in articles[:3])


def changes_of(articles: list[Article]) -> list[Upsert]:
    vector = np.ones(384, dtype=np.float32) / np.sqrt(384)
    return [Upsert(article, "s", vector, {"all": 1, article.id: 2}, "en", False) for article in articles]


def test_a_first_build_that_was_cut_off_is_begun_again(tmp_path, articles, given_vectors, monkeypatch):
    with Recommender(tmp_path / "a.db") as rec:
        engine, upsert = rec._store._engine, rec._store._engine.upsert

        def cut(collection, rows):
            if collection == "":
                raise KeyboardInterrupt
            upsert(collection, rows)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "upsert", cut)
            with pytest.raises(KeyboardInterrupt):
                rec.build(articles)
        rec.build(articles)
        assert list(rec.verify()) == []
        assert rec._store.lookup_terms("en", ["river"])["river"][1] <= len(articles)


def test_counts_that_run_ahead_of_the_articles_weigh_no_nonsense(tmp_path, articles, given_vectors):
    """Between the two writes, or after a kill, a term may be counted in more articles than there are."""
    with Recommender(tmp_path / "a.db") as rec:
        rec.build([replace(one, text=f"{one.text} Everywhere news.") for one in articles])
        engine = rec._store._engine
        pages = engine.pages("terms", "", ["language", "term", "articles", "nothing"])
        engine.upsert("terms", [{**row, "articles": 50} for page in pages for row in page])
        rec.close()
        assert all(0 <= link.score <= 1 for _, block in rec.links(3, plain=True) for link in block)


def test_a_reader_is_not_told_of_damage_when_an_article_is_replaced_under_its_hands(
    tmp_path, articles, given_vectors, monkeypatch
):
    with Recommender(tmp_path / "a.db") as rec, Recommender(tmp_path / "a.db") as writer:
        rec.build(articles)
        get, done = rec._store._documents.get, []

        def replaced_between(names):
            if not done and any(name.startswith("text/") for name in names):
                done.append(writer.add([replace(articles[0], text="Other words of the dam.")]))
            return get(names)

        monkeypatch.setattr(rec._store._documents, "get", replaced_between)
        assert rec.get(articles[0].id).text == "Other words of the dam."


def test_counts_that_are_off_are_told_and_made_again(tmp_path, articles, given_vectors):
    with Recommender(tmp_path / "a.db") as rec:
        rec.build(articles)
        engine = rec._store._engine
        page = next(engine.pages("terms", "", ["language", "term", "articles", "nothing"]))
        engine.upsert("terms", [{**page[0], "articles": 99}])
        engine.upsert("hubness", [{"pk": key_of("nobody"), "vector": [0.0, 0.0], "round": 1}])
        assert len(list(rec.verify())) == 2
        assert list(rec.verify(repair=True)) == []


# A server that is killed: only where one is started for it.


def test_a_server_that_is_killed_in_a_build_loses_nothing(
    request, milvus_server_of_own, tmp_path, given_vectors, monkeypatch
):
    server = milvus_server_of_own
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 32)
    monkeypatch.setattr("recommender.store.milvus.engine.CALL_SECONDS", 5.0)
    place, made = f"milvus://{server.address}/test_killed", archive(300)
    with Recommender(tmp_path / "folder") as folder:
        folder.build(made)
        wanted = copy._sums(folder._store, 300, lambda *progress: None)

    def kill(progress):
        if progress.stage == "reading" and progress.embedded >= 128:
            server.kill()

    with Recommender(place) as rec, pytest.raises(IndexUnavailableError, match="run the same command again"):
        rec.build(made, on_progress=kill)
    server.start()
    monkeypatch.setattr("recommender.store.milvus.engine.CALL_SECONDS", 60.0)
    with Recommender(place) as rec:
        kept = len(list(rec._store.ids()))
        assert kept >= 96  # what was acknowledged
        report = rec.build(made)
        assert (report.unchanged, report.added) == (kept, 300 - kept)
        assert copy._sums(rec._store, 300, lambda *progress: None) == wanted
        assert list(rec.verify()) == []
    server.drop("test_killed")


def test_a_build_waits_for_a_server_that_restarts(milvus_server_of_own, given_vectors, monkeypatch):
    server = milvus_server_of_own
    monkeypatch.setattr(pipeline, "BATCH_ARTICLES", 32)
    place, made = f"milvus://{server.address}/test_restarted", archive(160)
    restarted = threading.Thread(target=server.start)

    def kill(progress):
        if progress.stage == "reading" and progress.embedded >= 64 and restarted.ident is None:
            server.kill()
            restarted.start()

    with Recommender(place) as rec:
        assert rec.build(made, on_progress=kill).added == 160
        restarted.join()
        assert len(rec) == 160
        assert list(rec.verify()) == []
        rec.close()
        with open_store(place).write_lock():  # the lease was given up
            pass
    server.drop("test_restarted")


@pytest.fixture
def milvus_server_of_own(request):
    if request.config.getoption("--milvus") != "own":
        pytest.skip("kills a server: `make test-milvus`")
    return request.getfixturevalue("milvus_server")
