"""Cached neighbours replace both searches, and change no answer."""

import random
import shutil

import pytest

from recommender import Article, Recommender
from recommender.store.local.candidates import CandidateSearch

ARTICLES = 400


def article(number: int) -> Article:
    draw = random.Random(number)
    words = [f"word{int(draw.paretovariate(0.6))}" for _ in range(40)]
    return Article(
        id=f"{number:04}",
        title=" ".join(words[:4]),
        text=f"topic{draw.randrange(12)} " + " ".join(words),
        language="en" if number % 10 else "de",
        section=f"section{number % 8}",
    )


@pytest.fixture(scope="module")
def built_index(tmp_path_factory, fake_vectors_context):
    """Return the folder of an index that the tests copy."""
    path = tmp_path_factory.mktemp("built") / "index"
    with fake_vectors_context(), pytest.MonkeyPatch.context() as patch, Recommender(path) as rec:
        patch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
        rec.build([article(number) for number in range(ARTICLES)])
    return path


@pytest.fixture
def rec(tmp_path, built_index, fake_vectors, monkeypatch):
    """Return a Recommender whose index keeps its derived files after small changes."""
    monkeypatch.setattr("recommender.store.local.writer.MAX_EXACT_ARTICLES", 10)
    shutil.copytree(built_index, tmp_path / "index")
    with Recommender(tmp_path / "index") as rec:
        yield rec


@pytest.fixture
def searches(monkeypatch):
    """Return the positions of the queries that were searched instead of answered from cached neighbours."""
    positions_searched = []
    search = CandidateSearch._search

    def record(self, connection, queries, positions, *arguments):
        positions_searched.extend(positions)
        return search(self, connection, queries, positions, *arguments)

    monkeypatch.setattr(CandidateSearch, "_search", record)
    return positions_searched


def neighbours_file(rec):
    (path,) = rec.path.glob("neighbours-*")
    return path


def blocks(rec, **options):
    return {id: [(link.id, link.score) for link in block] for id, block in rec.links(10, **options)}


def blocks_by_search(rec, **options):
    """Return the blocks without the file of cached neighbours."""
    rec.close()
    path = neighbours_file(rec)
    aside = path.rename(path.with_name("aside"))
    searched_blocks = blocks(rec, **options)
    rec.close()
    aside.rename(path)
    return searched_blocks


@pytest.mark.parametrize("options", [{}, {"plain": True}, {"k": 30}, {"language": "any"}, {"section": "section3"}])
def test_cached_neighbours_change_no_block(rec, options):
    k = {"k": options.pop("k")} if "k" in options else {}
    single_blocks = {id: rec.related(id, **k, **options) for id in ("0001", "0010")} if "plain" not in options else {}
    assert blocks(rec, **options) == blocks_by_search(rec, **options)
    for id, block in single_blocks.items():
        assert [link.id for link in rec.related(id, **k, **options)] == [link.id for link in block]


def test_only_a_new_article_is_searched(rec, searches):
    assert len(rec.related("0005", 10)) == 10
    assert blocks(rec)
    assert not searches
    rec.related(Article("elsewhere", "word1 word2", article(5).text))
    assert searches == [0]


def test_added_and_removed_articles_are_known_without_a_search(rec, searches):
    removed_id = rec.related("0005", 10)[0].id
    rec.add([Article("new", article(5).title, article(5).text + " more", language="en")])
    rec.remove(removed_id)
    searches.clear()
    ids = [link.id for link in rec.related("0005", 10, drop_near_duplicates=False)]
    assert ids[0] == "new"
    assert removed_id not in ids
    assert not searches


def test_a_query_is_searched_if_many_neighbours_are_removed_or_filtered(rec, monkeypatch, searches):
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 1.0)
    neighbour_ids = {link.id for link in rec.related("0005", 40, drop_near_duplicates=False, score_threshold=False)}
    rec.remove(*neighbour_ids)
    searches.clear()
    assert len(rec.related("0005", 10, score_threshold=False)) == 10
    assert searches
    searches.clear()
    assert {link.section for link in rec.related("0006", 10, section="section3", score_threshold=False)} == {"section3"}
    assert searches


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["bits", "cut", "other rows", "missing"])
def test_a_damaged_file_changes_no_block_and_is_rebuilt(rec, damage):
    expected = blocks_by_search(rec)
    path = neighbours_file(rec)
    content = bytearray(path.read_bytes())
    if damage == "bits":
        content[len(content) // 2 :: 7] = b"\xff" * len(content[len(content) // 2 :: 7])
    elif damage == "cut":
        del content[-5:]
    elif damage == "other rows":
        content[8:] = content[-260:] * ARTICLES
    path.unlink()
    if damage != "missing":
        path.write_bytes(content)
    assert blocks(rec) == expected
    assert [problem for problem in rec.verify() if path.name in problem]
    assert list(rec.verify(repair=True)) == []
    assert blocks(rec) == expected
    rec.add([article(ARTICLES + number) for number in range(ARTICLES // 10)])  # enough to rebuild the derived files
    assert neighbours_file(rec).name != path.name


def test_a_full_hubness_pass_that_is_cut_off_leaves_no_file(rec, monkeypatch):
    def fail(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr("recommender.ranking.hubness.rank_by", fail)
        rec.add([article(ARTICLES + number) for number in range(ARTICLES // 10)])
    assert not [path for path in rec.path.iterdir() if "neighbours" in path.name]
    assert blocks(rec)
    rec.add([article(2 * ARTICLES)])
    assert neighbours_file(rec)
    assert list(rec.verify()) == []
