"""The features of a query and its candidates that a learned ranking scores.

Every feature can be computed for an article that the index does not contain. The query's own links never enter one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.learning.catalog import GROUPINGS, ArticleFields, Catalog, contains, lookup

NEIGHBOURS = 20  # of the query, whose links propose candidates
MAX_PROPOSED = 60  # candidates proposed by the links of neighbours
MAX_HABITUAL = 20  # candidates that most articles of the query's folder link to, and as many of the folder around it
MAX_CITING = 20  # articles with a link to the query that are candidates
MAX_RANK = 100  # ranks beyond it are equal
MIN_NEIGHBOUR_WEIGHT = 0.01

# Feature names by group; the groups are those of explanations.
GROUPS: dict[str, tuple[str, ...]] = {
    "meaning": ("dense", "dense_gap", "dense_rank"),
    "words": ("lexical", "lexical_rank", "title_cosine", "title_in_text", "terms_query", "terms_candidate"),
    "meaning and words": ("score", "score_gap", "score_rank"),
    "links": (
        "neighbour_weight",
        "neighbour_count",
        "neighbour_maximum",
        "linked_neighbours",
        *(f"{name}_{part}" for name in GROUPINGS for part in ("links", "share")),
        "backlinks_query",
        "is_backlink",
        "co_cited",
    ),
    "place": (
        "depth_query",
        "depth_candidate",
        "common_prefix",
        "same_folder",
        "same_section",
        "shared_tags",
        "shared_authors",
        "same_language",
    ),
    "age": ("age_difference", "has_dates"),
    "popularity": ("hubness", "links_in", "links_out"),
}
FEATURES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
COLUMNS: dict[str, int] = {name: column for column, name in enumerate(FEATURES)}
_NO_ROWS = np.empty(0, dtype=np.int64)
_CATALOG_COLUMNS = np.array(  # of features that need the candidate in the catalog
    [
        COLUMNS[name]
        for name in (*GROUPS["links"], *GROUPS["place"], *GROUPS["age"], "links_in", "links_out")
        if name not in ("same_language", "backlinks_query", "depth_query")
    ]
    + [COLUMNS["title_cosine"], COLUMNS["title_in_text"]],
    dtype=np.int64,
)


@dataclass(frozen=True, slots=True)
class ContentSignals:
    """The content signals of a query and n articles.

    Attributes:
        dense: cosines of the embeddings: float64, shape (n,).
        lexical: cosines of the tf-idf vectors: float64, shape (n,).
        hubness: of the articles: float64, shape (n,).
        score: the raw scores of the content ranking: float64, shape (n,).
        n_terms: the number of distinct terms of the articles: float64, shape (n,).
        same_language: whether the articles are in the query's language: bool, shape (n,).
    """

    dense: NDArray[np.float64]
    lexical: NDArray[np.float64]
    hubness: NDArray[np.float64]
    score: NDArray[np.float64]
    n_terms: NDArray[np.float64]
    same_language: NDArray[np.bool_]

    def at(self, indices: slice | NDArray[np.int64]) -> "ContentSignals":
        """Return the signals of some of the articles."""
        return ContentSignals(*(getattr(self, name)[indices] for name in ContentSignals.__slots__))

    def with_others(self, others: "ContentSignals") -> "ContentSignals":
        """Return these signals followed by those of other articles."""
        names = ContentSignals.__slots__
        return ContentSignals(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in names))


@dataclass(frozen=True, slots=True)
class Votes:
    """Articles with the weights of the neighbours that link to them.

    Attributes:
        rows: of the articles in the catalog, ascending: int64, shape (v,).
        weights: the sum of the weights: float64, shape (v,).
        counts: the number of neighbours: int64, shape (v,).
        maxima: the largest weight: float64, shape (v,).
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]
    counts: NDArray[np.int64]
    maxima: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> "Votes":
        """Add up votes: an article and the weight of each."""
        order = np.argsort(rows, kind="stable")
        rows, weights = rows[order], weights[order]
        starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]])) if len(rows) else np.empty(0, np.int64)
        if not len(starts):
            return cls(starts, np.empty(0), starts, np.empty(0))
        return cls(
            rows[starts],
            np.add.reduceat(weights, starts),
            np.diff(starts, append=len(rows)),
            np.maximum.reduceat(weights, starts),
        )


@dataclass(frozen=True, slots=True)
class QueryContext:
    """All of a query that the features of its candidates depend on.

    Attributes:
        fields: of its article.
        row: of its article in the catalog; -1 if it has none.
        term_ids: of its text, ascending: int64.
        pool: the content signals of its candidates by content.
        links: the votes of its neighbours for the articles that they link to.
        backlinks: the votes of its neighbours for the articles that link to them.
        citing: the rows of the articles that link to it, ascending; empty for a new article.
        co_cited: the votes of the citing articles for the other articles that they link to.
        habitual: the rows that most articles of its folder, and of the folder around it, link to.
    """

    fields: ArticleFields
    row: int
    term_ids: NDArray[np.int64]
    pool: ContentSignals
    links: Votes
    backlinks: Votes
    citing: NDArray[np.int64]
    co_cited: Votes
    habitual: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        fields: ArticleFields,
        row: int,
        term_ids: NDArray[np.int64],
        pool: ContentSignals,
        pool_rows: NDArray[np.int64],
        *,
        is_new: bool,
    ) -> "QueryContext":
        """Return the context of a query.

        Args:
            catalog: the catalog.
            fields: of the query's article.
            row: of the query's article in the catalog; -1 if it has none.
            term_ids: of the query's text, ascending.
            pool: the content signals of the candidates by content, the best first.
            pool_rows: their rows in the catalog, -1 where it has none.
            is_new: whether links to the query are ignored, as if it were new.
        """
        in_catalog = np.flatnonzero(pool_rows >= 0)[:NEIGHBOURS]
        neighbours = pool_rows[in_catalog]
        weights = np.maximum(pool.score[in_catalog], MIN_NEIGHBOUR_WEIGHT)
        linking, targets = catalog.links.gather(neighbours)
        linked, sources = catalog.backlinks.gather(neighbours)
        citing = np.empty(0, dtype=np.int64) if is_new or row < 0 else catalog.backlinks[row]
        _, co_cited = catalog.links.gather(citing)
        return cls(
            fields=fields,
            row=row,
            term_ids=term_ids,
            pool=pool,
            links=_votes_without(row, targets, weights[linking]),
            backlinks=_votes_without(row, sources, weights[linked]),
            citing=citing,
            co_cited=_votes_without(row, co_cited, np.ones(len(co_cited))),
            habitual=_habitual(catalog, fields, row),
        )

    def proposed(self) -> NDArray[np.int64]:
        """Return the rows of the candidates that links propose: int64, distinct, ascending."""
        best = np.argsort(-self.links.weights, kind="stable")[:MAX_PROPOSED]
        return np.unique(np.concatenate([self.links.rows[best], self.habitual, self.citing[:MAX_CITING]]))


def feature_matrix(
    catalog: Catalog, context: QueryContext, rows: NDArray[np.int64], signals: ContentSignals
) -> NDArray[np.float64]:
    """Return the features of a query and articles: float64, shape (n, features), without NaN.

    Args:
        catalog: the catalog.
        context: of the query.
        rows: of the articles in the catalog, -1 where it has none: shape (n,).
        signals: of the query and the articles.
    """
    known = rows >= 0
    safe = np.where(known, rows, 0)
    values: dict[str, NDArray[np.float64]] = {
        "dense": signals.dense,
        "lexical": signals.lexical,
        "score": signals.score,
        "hubness": signals.hubness,
        "terms_candidate": np.log1p(signals.n_terms),
        "terms_query": np.full(len(rows), np.log1p(len(context.term_ids))),
        "same_language": signals.same_language.astype(np.float64),
    }
    pool = context.pool
    for name, best in (("dense", pool.dense), ("lexical", pool.lexical), ("score", pool.score)):
        ascending = np.sort(best)
        above = len(ascending) - np.searchsorted(ascending, getattr(signals, name), side="right")
        values[f"{name}_rank"] = np.minimum(above, MAX_RANK).astype(np.float64)
        if name != "lexical":
            values[f"{name}_gap"] = (ascending[-1] if len(ascending) else 0.0) - getattr(signals, name)
    if catalog.size:
        values |= _link_features(catalog, context, safe)
        values |= _field_features(catalog, context, safe)
    matrix = np.zeros((len(rows), len(FEATURES)))
    for name, column in values.items():
        matrix[:, COLUMNS[name]] = column
    matrix[np.ix_(np.flatnonzero(~known), _CATALOG_COLUMNS)] = 0.0  # unknown
    return matrix


def _link_features(catalog: Catalog, context: QueryContext, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    row = context.row
    own_links, linking_rows = (catalog.links[row], catalog.backlinks[row]) if row >= 0 else (_NO_ROWS, _NO_ROWS)
    is_own = contains(own_links, rows).astype(np.float64)  # whose effect on counts is subtracted
    links, backlinks = context.links, context.backlinks
    values = {
        "neighbour_weight": lookup(links.rows, links.weights, rows),
        "neighbour_count": lookup(links.rows, links.counts, rows).astype(np.float64),
        "neighbour_maximum": lookup(links.rows, links.maxima, rows),
        "linked_neighbours": lookup(backlinks.rows, backlinks.weights, rows),
        "links_in": np.log1p(np.maximum(catalog.backlinks.lengths[rows] - is_own, 0.0)),
        "links_out": np.log1p(catalog.links.lengths[rows] - contains(linking_rows, rows)),  # to others than the query
        "backlinks_query": np.full(len(rows), np.log1p(len(context.citing))),
        "is_backlink": contains(context.citing, rows).astype(np.float64),
        "co_cited": lookup(context.co_cited.rows, context.co_cited.weights, rows),
    }
    group_of = _groups(context.fields)
    for name, habits in catalog.habits.items():
        counts, linking = habits.links_to(group_of[name], rows)
        is_counted = bool(len(own_links)) and int(catalog.groups[name][row]) == group_of[name]  # else it has moved
        others = counts - is_own * is_counted
        values[f"{name}_links"] = others
        values[f"{name}_share"] = others / max(linking - is_counted, 1)
    return values


def _groups(fields: ArticleFields) -> dict[str, int]:
    """Return the hash of an article's group by each grouping, 0 without one."""
    prefixes = fields.prefixes
    return {
        "folder": int(prefixes[-1]) if len(prefixes) else 0,
        "parent": int(prefixes[-2]) if len(prefixes) > 1 else 0,
        "section": fields.section,
    }


def _habitual(catalog: Catalog, fields: ArticleFields, row: int) -> NDArray[np.int64]:
    """Return the rows that most other articles of the article's folder, and of the folder around it, link to."""
    group_of, own_links = _groups(fields), catalog.links[row] if row >= 0 else _NO_ROWS
    parts = [_NO_ROWS]
    for name in ("folder", "parent"):
        if catalog.size and group_of[name]:
            is_counted = row >= 0 and int(catalog.groups[name][row]) == group_of[name]
            rows, counts = catalog.habits[name].targets(group_of[name])
            others = counts - contains(own_links, rows) * is_counted
            linked = np.flatnonzero(others > max(_nth_largest(others, MAX_HABITUAL + 1) - 1, 0))
            best = linked[np.argsort(-others[linked], kind="stable")[:MAX_HABITUAL]]
            parts.append(rows[best])
    return np.setdiff1d(np.concatenate(parts), [row])


def _nth_largest(values: NDArray[np.int64], n: int) -> int:
    """Return the nth largest value; 0 if there are fewer. Sorting all takes longer in a folder with many links."""
    return int(np.partition(values, -n)[-n]) if len(values) >= n else 0


def _field_features(catalog: Catalog, context: QueryContext, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    fields = context.fields
    values = {
        "depth_query": np.full(len(rows), float(len(fields.prefixes))),
        "depth_candidate": catalog.prefixes.lengths[rows].astype(np.float64),
        "common_prefix": _shared(catalog, "prefixes", fields.prefixes, rows),
        "same_folder": (catalog.folders[rows] == (fields.prefixes[-1] if len(fields.prefixes) else 0)).astype(
            np.float64
        ),
        "same_section": ((catalog.sections[rows] == fields.section) & (fields.section != 0)).astype(np.float64),
        "shared_tags": _shared(catalog, "tags", fields.tags, rows),
        "shared_authors": _shared(catalog, "authors", fields.authors, rows),
    }
    days = catalog.days[rows] - fields.day
    has_dates = np.isfinite(days)
    days = np.where(has_dates, days, 0.0)
    values |= {"age_difference": np.sign(days) * np.log1p(np.abs(days)), "has_dates": has_dates.astype(np.float64)}
    terms, idf = catalog.title_idf
    at, title_terms = catalog.titles.gather(rows)
    title_weights = idf[np.searchsorted(terms, title_terms)] if len(terms) else np.empty(0)
    query_idf = lookup(terms, idf, fields.titles)
    query_norm = float(np.sqrt((query_idf**2).sum())) or 1.0
    is_shared = contains(fields.titles, title_terms)
    squares = title_weights**2
    norms = np.sqrt(np.bincount(at, squares, minlength=len(rows)))
    products = np.bincount(at, np.where(is_shared, squares, 0.0), minlength=len(rows))
    values["title_cosine"] = products / (np.where(norms > 0, norms, 1.0) * query_norm)
    in_text = np.bincount(
        at, np.where(contains(context.term_ids, title_terms), title_weights, 0.0), minlength=len(rows)
    )
    totals = np.bincount(at, title_weights, minlength=len(rows))
    values["title_in_text"] = in_text / np.where(totals > 0, totals, 1.0)
    return values


def _shared(catalog: Catalog, name: str, values: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many of `values` each article has in a list field."""
    if not len(values):
        return np.zeros(len(rows))
    at, numbers = getattr(catalog, name).gather(rows)
    return np.bincount(at[contains(np.sort(values), numbers)], minlength=len(rows)).astype(np.float64)


def _votes_without(row: int, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> Votes:
    is_other = rows != row
    return Votes.of(rows[is_other], weights[is_other])


def group_columns() -> Mapping[str, Sequence[int]]:
    """Return the columns of each group of features."""
    return {group: [COLUMNS[name] for name in names] for group, names in GROUPS.items()}
