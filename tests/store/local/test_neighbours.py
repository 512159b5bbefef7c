"""The candidates that a round over all articles found stand in for both searches, and change no answer."""

import random

import pytest

from recommender import Article, Recommender
from recommender.store.local.candidates import CandidateSearch

MANY = 400


def made(number: int) -> Article:
    draw = random.Random(number)
    words = [f"word{int(draw.paretovariate(0.6))}" for _ in range(40)]
    return Article(
        id=f"{number:04}",
        title=" ".join(words[:4]),
        text=f"topic{draw.randrange(12)} " + " ".join(words),
        language="en" if number % 10 else "de",
        section=f"section{number % 8}",
    )


@pytest.fixture
def rec(tmp_path, given_vectors, monkeypatch):
    """A Recommender whose index keeps search files while a little changes."""
    monkeypatch.setattr("recommender.store.local.writer.SMALL", 10)
    with Recommender(tmp_path / "index") as rec:
        rec.build([made(number) for number in range(MANY)])
        yield rec


@pytest.fixture
def searches(monkeypatch):
    """How many queries both searches were asked."""
    asked = []
    search = CandidateSearch._search

    def noted(self, connection, probes, places, *rest):
        asked.extend(places)
        return search(self, connection, probes, places, *rest)

    monkeypatch.setattr(CandidateSearch, "_search", noted)
    return asked


def file_of(rec):
    (path,) = rec.path.glob("near-*")
    return path


def blocks(rec, **options):
    return {id: [(link.id, link.score) for link in block] for id, block in rec.links(10, **options)}


def without_it(rec, **options):
    """The blocks as both searches give them."""
    rec.close()
    path = file_of(rec)
    aside = path.rename(path.with_name("aside"))
    found = blocks(rec, **options)
    rec.close()
    aside.rename(path)
    return found


@pytest.mark.parametrize("options", [{}, {"plain": True}, {"k": 30}, {"language": "any"}, {"section": "section3"}])
def test_blocks_are_those_that_the_searches_give(rec, options):
    k = {"k": options.pop("k")} if "k" in options else {}
    made_from = {id: rec.related(id, **k, **options) for id in ("0001", "0010")} if "plain" not in options else {}
    assert blocks(rec, **options) == without_it(rec, **options)
    for id, block in made_from.items():
        assert [link.id for link in rec.related(id, **k, **options)] == [link.id for link in block]


def test_a_stored_article_is_not_searched_for_and_a_text_is(rec, searches):
    assert len(rec.related("0005", 10)) == 10
    assert blocks(rec)
    assert not searches
    rec.related(Article("elsewhere", "word1 word2", made(5).text))
    assert searches == [0]


def test_what_comes_and_goes_is_known_at_once(rec, searches):
    gone = rec.related("0005", 10)[0].id
    rec.add([Article("new", made(5).title, made(5).text + " more", language="en")])
    rec.remove(gone)
    searches.clear()
    found = [link.id for link in rec.related("0005", 10, copies=False)]
    assert found[0] == "new"
    assert gone not in found
    assert not searches


def test_where_many_candidates_are_gone_or_unwanted_the_searches_are_asked(rec, monkeypatch, searches):
    monkeypatch.setattr("recommender.store.local.writer.STALE_SHARE", 1.0)
    near = {link.id for link in rec.related("0005", 40, copies=False, floor=False)}
    rec.remove(*near)
    searches.clear()
    assert len(rec.related("0005", 10, floor=False)) == 10
    assert searches
    searches.clear()
    assert {link.section for link in rec.related("0006", 10, section="section3", floor=False)} == {"section3"}
    assert searches


@pytest.mark.parametrize("damage", ["bits", "cut", "other rows", "missing"])
def test_damage_changes_no_answer(rec, damage):
    expected = without_it(rec)
    path = file_of(rec)
    content = bytearray(path.read_bytes())
    if damage == "bits":
        content[len(content) // 2 :: 7] = b"\xff" * len(content[len(content) // 2 :: 7])
    elif damage == "cut":
        del content[-5:]
    elif damage == "other rows":
        content[8:] = content[-260:] * MANY
    path.unlink()
    if damage != "missing":
        path.write_bytes(content)
    assert blocks(rec) == expected
    assert [problem for problem in rec.verify() if path.name in problem]
    assert list(rec.verify(repair=True)) == []
    assert blocks(rec) == expected
    rec.add([made(MANY + number) for number in range(MANY // 10)])  # enough for new search files
    assert file_of(rec).name != path.name


def test_a_round_that_is_cut_off_leaves_no_part_of_it(rec, monkeypatch):
    def fail(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr("recommender.ranking.hubness.rank_by", fail)
        rec.add([made(MANY + number) for number in range(MANY // 10)])
    assert not [path for path in rec.path.iterdir() if "near" in path.name]
    assert blocks(rec)
    rec.add([made(2 * MANY)])
    assert file_of(rec)
    assert list(rec.verify()) == []
