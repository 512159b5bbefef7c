"""Features: the query's own links never enter them, links to it only if it is not new."""

import numpy as np
import pytest

from recommender.learning.catalog import ArticleFields, Catalog
from recommender.learning.features import COLUMNS, FEATURES, GROUPS, ContentSignals, QueryContext, feature_matrix

N = 40
QUERY = 7
EMPTY = np.empty(0, dtype=np.int64)


def fields(generator: np.random.Generator) -> ArticleFields:
    """Return fields with few values, so that articles share them."""

    def numbers(size: int) -> np.ndarray:
        return np.unique(generator.integers(1, 6, size)).astype(np.int64)

    return ArticleFields(
        titles=numbers(4),
        prefixes=generator.integers(1, 4, generator.integers(0, 4)).astype(np.int64),
        section=int(generator.integers(0, 3)),
        tags=numbers(2),
        authors=numbers(1),
        day=float(generator.integers(0, 900)) if generator.random() < 0.8 else np.nan,
    )


def signals(generator: np.random.Generator, n: int) -> ContentSignals:
    score = np.sort(generator.random(n))[::-1]
    return ContentSignals(
        dense=generator.random(n),
        lexical=generator.random(n),
        hubness=generator.random(n) / 10,
        score=score,
        n_terms=generator.integers(1, 50, n).astype(np.float64),
        same_language=generator.random(n) < 0.9,
    )


class Archive:
    """Random articles with random links, and a query among them."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.ids = [f"id{number:02}" for number in range(N)]
        self.fields = [fields(generator) for _ in self.ids]
        self.links = {
            id: [self.ids[row] for row in generator.integers(0, N, generator.integers(0, 6))] for id in self.ids
        }
        self.links[self.ids[QUERY]] = [self.ids[row] for row in (1, 2, 3, 8)]
        self.links[self.ids[1]].append(self.ids[QUERY])
        self.links[self.ids[3]] = [self.ids[QUERY]]
        self.pool_rows = np.array([row for row in generator.permutation(N)[:15] if row != QUERY], dtype=np.int64)
        self.pool = signals(generator, len(self.pool_rows))
        self.rows = np.array([row for row in range(N) if row != QUERY] + [-1], dtype=np.int64)
        self.signals = signals(generator, len(self.rows))
        self.term_ids = np.array([1, 3, 5], dtype=np.int64)

    def catalog(self, links=None) -> Catalog:
        return Catalog.of(self.ids, self.fields, self.links if links is None else links)

    def without_own_links(self) -> Catalog:
        return self.catalog({**self.links, self.ids[QUERY]: []})

    def without_links_to_query(self) -> Catalog:
        query_id = self.ids[QUERY]
        return self.catalog(
            {id: [target for target in links if target != query_id] for id, links in self.links.items()}
        )

    def matrix(self, catalog, *, is_new=False, row=QUERY, fields=None) -> np.ndarray:
        context = QueryContext.of(
            catalog, fields or self.fields[QUERY], row, self.term_ids, self.pool, self.pool_rows, is_new=is_new
        )
        return feature_matrix(catalog, context, self.rows, self.signals)


def differing(first: np.ndarray, second: np.ndarray) -> set[str]:
    """Return the features that differ."""
    return {FEATURES[column] for column in np.flatnonzero((first != second).any(axis=0)).tolist()}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_new", [True, False])
def test_the_own_links_of_the_query_change_no_feature(seed, is_new):
    archive = Archive(seed)
    with_links = archive.matrix(archive.catalog(), is_new=is_new)
    assert differing(with_links, archive.matrix(archive.without_own_links(), is_new=is_new)) == set()


@pytest.mark.parametrize("seed", range(30))
def test_the_own_links_of_an_article_that_moved_change_no_feature(seed):
    archive = Archive(seed)
    moved = fields(np.random.default_rng(seed + 1000))
    with_links = archive.matrix(archive.catalog(), fields=moved)
    assert differing(with_links, archive.matrix(archive.without_own_links(), fields=moved)) == set()
    assert (with_links[:, [COLUMNS[f"{name}_links"] for name in ("folder", "parent", "section")]] >= 0).all()


@pytest.mark.parametrize("seed", range(30))
def test_links_to_a_new_article_change_no_feature(seed):
    archive = Archive(seed)
    with_links = archive.matrix(archive.catalog(), is_new=True)
    changed = differing(with_links, archive.matrix(archive.without_links_to_query(), is_new=True))
    # Groups count the articles with links; that one of them links to the query alone says nothing about the candidate.
    assert changed <= {"folder_share", "parent_share", "section_share"}
    assert (with_links[:, [COLUMNS[name] for name in ("backlinks_query", "is_backlink", "co_cited")]] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_links_to_an_old_article_are_features(seed):
    archive = Archive(seed)
    matrix = archive.matrix(archive.catalog())
    linking = [id for id, targets in archive.links.items() if archive.ids[QUERY] in targets]
    is_backlink = matrix[:, COLUMNS["is_backlink"]]
    assert [archive.ids[row] for row in archive.rows[is_backlink == 1]] == linking
    assert differing(matrix, archive.matrix(archive.without_links_to_query())) >= {"backlinks_query", "is_backlink"}


def test_an_article_outside_the_catalog_has_the_features_of_a_new_one_without_links():
    archive = Archive(0)
    catalog = archive.catalog({archive.ids[0]: [archive.ids[5]]})
    stored, outside = archive.matrix(catalog), archive.matrix(catalog, row=-1)
    assert differing(stored, outside) == set()


def test_a_candidate_outside_the_catalog_has_content_features_only():
    archive = Archive(0)
    row = archive.matrix(archive.catalog())[-1]
    assert row[COLUMNS["dense"]] == archive.signals.dense[-1]
    names = [
        name for name in (*GROUPS["links"], *GROUPS["age"], "links_in", "shared_tags") if name != "backlinks_query"
    ]
    assert all(row[COLUMNS[name]] == 0 for name in names)


def test_proposed_candidates_are_linked_by_neighbours_or_by_the_folder_or_link_to_the_query():
    archive = Archive(3)
    catalog = archive.catalog()
    context = QueryContext.of(
        catalog, archive.fields[QUERY], QUERY, EMPTY, archive.pool, archive.pool_rows, is_new=False
    )
    folder = np.flatnonzero(np.isin(catalog.folders, [catalog.folders[QUERY]])) if catalog.folders[QUERY] else EMPTY
    parent = np.flatnonzero(np.isin(catalog.parents, [catalog.parents[QUERY]])) if catalog.parents[QUERY] else EMPTY
    linking = {*archive.pool_rows.tolist(), *folder.tolist(), *parent.tolist()} - {QUERY}
    linked = {target for row in linking for target in catalog.links[row].tolist()}
    assert set(context.proposed().tolist()) == (linked | set(catalog.backlinks[QUERY].tolist())) - {QUERY}
    new = QueryContext.of(catalog, archive.fields[QUERY], QUERY, EMPTY, archive.pool, archive.pool_rows, is_new=True)
    assert set(new.proposed().tolist()) == linked - {QUERY}


@pytest.mark.parametrize("n", [0, 1])
def test_features_of_empty_catalogs_and_pools_are_finite(n):
    catalog = Catalog.of([], [], {})
    nothing = signals(np.random.default_rng(0), 0)
    no_fields = ArticleFields(EMPTY, EMPTY, 0, EMPTY, EMPTY, np.nan)
    context = QueryContext.of(catalog, no_fields, -1, EMPTY, nothing, EMPTY, is_new=False)
    rows = np.full(n, -1, dtype=np.int64)
    matrix = feature_matrix(catalog, context, rows, signals(np.random.default_rng(0), n))
    assert matrix.shape == (n, len(FEATURES))
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize("seed", range(10))
def test_features_are_finite(seed):
    archive = Archive(seed)
    assert np.isfinite(archive.matrix(archive.catalog())).all()
