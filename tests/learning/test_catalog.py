"""The catalog: read anew or from an earlier one, stored arrays, ids and hidden links."""

from datetime import UTC, datetime

import numpy as np
import pytest

from recommender import Article
from recommender.learning.catalog import Catalog, Lists, read_catalog
from recommender.store import Upsert, open_store
from recommender.text.terms import extract_terms

IDS = [f"{letter}{number}" for letter in "abc" for number in range(20)]
ODD_IDS = ["ünï/ço dé", "日本 語?x=1&y=%20", "😀", "a\tb", "'; DROP", "/", "..", "x" * 500, "A", "a", "é"]
SETTINGS = {"model": {"name": "made up", "hash": "0", "dimensions": 4, "max_tokens": 1}}


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "index")
    yield store
    store.close()


def write(store, articles, removals=()) -> None:
    with store.write_lock():
        if not store.exists():
            store.create(SETTINGS)
        vector = np.full(4, 0.5, dtype=np.float32)
        store.write(
            [Upsert(item, "", vector, extract_terms(item.title, item.text, "en"), "en", False) for item in articles],
            list(removals),
        )
        store.finish(built=False)


def read(store, previous=None, kinds=("related", "links")) -> Catalog:
    with store.snapshot():
        return read_catalog(store, kinds, previous)


def assert_equal(catalog: Catalog, expected: Catalog) -> None:
    arrays, expected_arrays = catalog.to_arrays(), expected.to_arrays()
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        assert arrays[name].dtype == array.dtype


def links_of(catalog: Catalog) -> dict[str, list[str]]:
    ids = catalog.ids(range(catalog.size))
    return {id: catalog.ids(catalog.links[row].tolist()) for row, id in enumerate(ids) if len(catalog.links[row])}


def random_article(generator: np.random.Generator, id: str) -> Article:
    """Return an article with a title and url that others may have too, and links by id, url and title."""

    def number() -> int:
        return int(generator.integers(0, 12))

    targets = [str(generator.choice(IDS)), f"https://example.org/{number() % 3}/{number()}", f"Title {number()}"]
    return Article(
        id=id,
        title=f"Title {number()}",
        text=f"word{number()} word{number()}",
        url=f"https://example.org/{number() % 3}/{number()}" if number() < 9 else None,
        section=f"section{number() % 3}" if number() < 9 else None,
        tags=tuple(f"tag{number()}" for _ in range(number() % 3)),
        metadata={"authors": [f"author{number()}"]} if number() < 6 else {},
        published=datetime(2026, 1, 1 + number(), tzinfo=UTC) if number() < 9 else None,
        related=tuple(target for target in targets if number() < 6),
        links=tuple(target for target in targets if number() < 3),
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_catalog_read_from_an_earlier_one_equals_a_full_read(store, seed):
    generator = np.random.default_rng(seed)
    write(store, [random_article(generator, str(id)) for id in generator.permutation(IDS)[:40]])
    catalog, older = read(store), read(store)
    for step in range(8):
        present = list(store.ids())
        changed = [random_article(generator, str(id)) for id in generator.choice(IDS, 3, replace=False)]
        removals = {str(id) for id in generator.choice(present, 3, replace=False)} - {item.id for item in changed}
        write(store, changed, sorted(removals))
        catalog = read(store, catalog)
        assert_equal(catalog, read(store))
        if step % 3 == 0:
            older = read(store, older)  # several writes after the earlier one
            assert_equal(older, catalog)


def test_most_articles_are_not_read_again(store, monkeypatch):
    write(store, [Article(id=id, title=id, text=id, related=(IDS[0],)) for id in IDS])
    catalog = read(store)
    write(store, [Article(id="new", title="new", text="new", related=(IDS[1],))], [IDS[5]])
    read_ids: list[str] = []
    summaries = store.summaries
    monkeypatch.setattr(store, "summaries", lambda ids: read_ids.extend(ids) or summaries(ids))
    assert_equal(read(store, catalog), read(store))
    assert read_ids[:1] == ["new"]
    assert len(read_ids) == 1 + len(IDS)  # by the full read


def test_a_link_resolves_when_its_target_comes_and_elsewhere_when_it_goes(store):
    url = "https://example.org/same"
    others = [Article(id=id, title=id, text=id) for id in IDS]
    write(store, [*others, Article(id="z", title="z", text="z", related=(url, "Awaited"))])
    catalog = read(store)
    assert "z" not in links_of(catalog)
    steps = [
        ([Article(id="one", title="one", text="one", url=url)], [], ["one"]),
        ([Article(id="two", title="Awaited", text="two", url=url)], [], ["one", "two"]),
        ([], ["one"], ["two"]),
        ([Article(id="two", title="other", text="two")], [], []),
        ([Article(id="two", title="other", text="two", url=url)], [], ["two"]),
        ([], ["two"], []),
    ]
    for changed, removals, targets in steps:
        write(store, changed, removals)
        catalog = read(store, catalog)
        assert links_of(catalog).get("z", []) == targets
        assert_equal(catalog, read(store))


def test_only_the_links_of_the_requested_kinds_are_read(store):
    write(
        store,
        [
            Article(id="a", title="a", text="a", related=("b", "a"), links=("c", "b")),
            *(Article(id=id, title=id, text=id) for id in "bc"),
        ],
    )
    assert links_of(read(store, kinds=("related",))) == {"a": ["b"]}
    assert links_of(read(store, kinds=("links",))) == {"a": ["b", "c"]}
    assert links_of(read(store)) == {"a": ["b", "c"]}
    assert links_of(read(store, kinds=())) == {}


def test_ids_with_odd_characters_are_looked_up(store):
    write(store, [Article(id=id, title=id, text="text", related=(ODD_IDS[0],)) for id in ODD_IDS])
    catalog = read(store)
    ids = catalog.ids(range(catalog.size))
    assert ids == sorted(ODD_IDS)
    assert catalog.rows(ids).tolist() == list(range(catalog.size))
    assert catalog.rows(["missing", ODD_IDS[0], "", "a "]).tolist() == [-1, ids.index(ODD_IDS[0]), -1, -1]
    assert links_of(catalog) == {id: [ODD_IDS[0]] for id in ODD_IDS if id != ODD_IDS[0]}
    loaded = Catalog.load(catalog.to_arrays())
    assert loaded is not None
    assert loaded.ids(range(loaded.size)) == ids
    assert catalog.rows([]).tolist() == []


def test_an_empty_catalog_has_no_rows():
    catalog = Catalog.of([], [], {})
    loaded = Catalog.load(catalog.to_arrays())
    assert loaded is not None
    assert loaded.size == 0
    assert loaded.rows(["a", ""]).tolist() == [-1, -1]
    assert len(loaded.backlinks.values) == len(loaded.id_hashes) == 0


@pytest.fixture
def arrays(store):
    generator = np.random.default_rng(1)
    write(store, [random_article(generator, id) for id in IDS])
    catalog = read(store)
    assert len(catalog.links.values) > 5
    return catalog.to_arrays()


def _with(array: np.ndarray, index: int, value) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


LARGE = np.iinfo(np.int64).max
HOSTILE = {
    "no array": lambda arrays: {},
    "another array": lambda arrays: {**arrays, "more": arrays["days"]},
    "an empty array": lambda arrays: {**arrays, "revision": arrays["revision"][:0]},
    "no ids": lambda arrays: {**arrays, "id_offsets": arrays["id_offsets"][:0]},
    "fewer ids": lambda arrays: {**arrays, "id_offsets": arrays["id_offsets"][:-1]},
    "fewer dates": lambda arrays: {**arrays, "days": arrays["days"][1:]},
    "more sections": lambda arrays: {**arrays, "sections": np.append(arrays["sections"], 0)},
    "fewer hashes": lambda arrays: {**arrays, "hashes": arrays["hashes"][1:]},
    "fewer rows": lambda arrays: {**arrays, "hash_rows": arrays["hash_rows"][1:]},
    "a row out of range": lambda arrays: {**arrays, "hash_rows": _with(arrays["hash_rows"], 3, len(IDS))},
    "a negative row": lambda arrays: {**arrays, "hash_rows": _with(arrays["hash_rows"], 3, -1)},
    "a link out of range": lambda arrays: {**arrays, "link_targets": _with(arrays["link_targets"], 0, len(IDS))},
    "a negative link": lambda arrays: {**arrays, "link_targets": _with(arrays["link_targets"], 0, -1)},
    "fewer links": lambda arrays: {**arrays, "link_targets": arrays["link_targets"][:-1]},
    "descending offsets": lambda arrays: {**arrays, "link_offsets": _with(arrays["link_offsets"], 5, LARGE // 2)},
    "negative offsets": lambda arrays: {**arrays, "titles_offsets": _with(arrays["titles_offsets"], 5, -1)},
    "offsets that overflow": lambda arrays: {
        **arrays,
        "tags_offsets": np.array([0, LARGE, -2, *arrays["tags_offsets"][3:]], dtype=np.int64),
    },
    "a late start": lambda arrays: {**arrays, "prefixes_offsets": _with(arrays["prefixes_offsets"], 0, 1)},
    "offsets of another type": lambda arrays: {**arrays, "link_offsets": arrays["link_offsets"].astype(np.float64)},
    "links of another type": lambda arrays: {**arrays, "link_targets": arrays["link_targets"].astype(np.float32)},
    "ids of another type": lambda arrays: {**arrays, "id_bytes": arrays["id_bytes"].astype(np.int64)},
    "a revision that is no number": lambda arrays: {**arrays, "revision": np.array([np.nan])},
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_arrays_are_no_catalog(arrays, hostile):
    assert Catalog.load(arrays) is not None
    assert Catalog.load(HOSTILE[hostile](arrays)) is None


@pytest.mark.parametrize("seed", range(20))
def test_changed_arrays_are_no_catalog_or_one_that_can_be_used(arrays, seed):
    generator = np.random.default_rng(seed)
    for name, array in arrays.items():
        index = generator.integers(0, max(len(array), 1))
        value = generator.integers(-5, 100)
        if not len(array) or (array.dtype.kind == "u" and value < 0):
            continue
        catalog = Catalog.load({**arrays, name: _with(array, index, value)})
        if catalog is not None:
            rows = np.arange(catalog.size)
            assert len(catalog.ids(rows.tolist())) == len(IDS)
            assert len(catalog.rows(IDS)) == len(IDS)
            catalog.links.gather(catalog.links.values)
            catalog.backlinks.gather(rows)
            assert catalog.folders.shape == catalog.id_hashes.shape
            for habits in catalog.habits.values():
                assert (habits.links_to(int(catalog.sections[0]), rows)[0] >= 0).all()


def test_links_of_hidden_articles_are_gone_in_both_directions(arrays):
    catalog = Catalog(arrays)
    hidden = np.arange(0, catalog.size, 3)
    reduced = catalog.without_links_of(hidden)
    expected = {
        (source, target)
        for source in range(catalog.size)
        for target in catalog.links[source].tolist()
        if not {source, target} & set(hidden.tolist())
    }
    assert {(row, target) for row in range(reduced.size) for target in reduced.links[row].tolist()} == expected
    assert {(source, row) for row in range(reduced.size) for source in reduced.backlinks[row].tolist()} == expected
    assert sum(len(counts.counts) > 0 for counts in reduced.habits.values()) == 3
    assert sum(reduced.habits["section"].counts) == len(expected)


def test_lists_are_gathered_with_the_position_of_their_row():
    lists = Lists.of([[5, 6], [], [7]])
    positions, values = lists.gather(np.array([2, 1, 0, 2]))
    assert (positions.tolist(), values.tolist()) == ([0, 2, 2, 3], [7, 5, 6, 7])
    assert [part.tolist() for part in lists.gather(np.empty(0, dtype=np.int64))] == [[], []]
