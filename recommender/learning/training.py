"""Training a learned ranking on an archive's own links, with cross-fitting, and the decision whether it is adopted."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import RecommenderError
from recommender.learning.catalog import ArticleFields, Catalog, contains
from recommender.learning.features import ContentSignals, QueryContext, feature_matrix
from recommender.learning.ranker import add_articles, content_signals, prepare
from recommender.learning.trees import Trees
from recommender.ranking.query import CANDIDATES_PER_SIGNAL, stored_queries
from recommender.ranking.scorer import Scorer
from recommender.store import Store
from recommender.system.processes import parallel_map

FOLDS = 5
MAX_QUERIES = 4000  # linked articles that a model is trained on
MAX_EXTRA = 120  # candidates of a training query that the links of its neighbours propose
N_TREES = 150
NO_FOLD = -1  # no article is in it: its model learns from all
MAX_OLD = 500  # articles of a fold that are ranked as old ones too: of more, at least half measure it well enough
NEGATIVE_SHARE = 0.2  # of the candidates without a link, drawn at random
DEPTH = 10  # of nDCG
BOOTSTRAP_RESAMPLES = 2000
CHUNK_QUERIES = 128
MIN_ARTICLES_FOR_PROCESSES = 1000
_PARAMETERS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "max_depth": 8,
    "max_bin": 63,
    "min_data_in_leaf": 20,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # several slow one another down beside other processes
    "seed": 0,
    "verbose": -1,
}

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LinkedArticle:
    """A stored article with the content signals of its candidates, from which a ranking model learns.

    Attributes:
        row: in the catalog.
        fold: from 0 to 4; an article is tested with the model that was trained on the four other folds.
        term_ids: of its text, ascending.
        fields: of the article.
        rows: of its candidates in the catalog, by content first, then those that links propose: int64, shape (n,).
        n_pool: the number of candidates by content.
        signals: of the candidates.
    """

    row: int
    fold: int
    term_ids: NDArray[np.int64]
    fields: ArticleFields
    rows: NDArray[np.int64]
    n_pool: int
    signals: ContentSignals

    def context(self, catalog: Catalog, *, is_new: bool) -> QueryContext:
        """Return its context, with the links of a catalog."""
        pool = self.signals.at(slice(self.n_pool))
        return QueryContext.of(
            catalog, self.fields, self.row, self.term_ids, pool, self.rows[: self.n_pool], is_new=is_new
        )

    def candidates(self, context: QueryContext) -> NDArray[np.int64]:
        """Return the indices of its candidates, by content and as the links of a catalog propose: int64."""
        is_proposed = contains(context.proposed(), self.rows[self.n_pool :])
        return np.concatenate([np.arange(self.n_pool), self.n_pool + np.flatnonzero(is_proposed)])


@dataclass(frozen=True, slots=True)
class Ranked:
    """The ranking of one article by a model that has not seen its links.

    Attributes:
        row: of the article in the catalog.
        rows: of its candidates, best first: int64, shape (n,).
        outputs: of the trees for them: float64, shape (n,).
        raw_scores: of the content ranking for them: float64, shape (n,).
        content_rows: the rows of its candidates by content, best first.
    """

    row: int
    rows: NDArray[np.int64]
    outputs: NDArray[np.float64]
    raw_scores: NDArray[np.float64]
    content_rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FittedFold:
    """A model that has not seen the links of a fold, and its rankings of the fold's articles.

    Attributes:
        trees: the model.
        new: its rankings of the articles as new ones.
        old: its rankings of the articles as old ones; if there are more than 500, of every second or so.
    """

    trees: Trees
    new: list[Ranked]
    old: list[Ranked]


def fold_of(id: str) -> int:
    """Return the fold of an article, from 0 to 4, by a hash of its id."""
    return _hash(id) % FOLDS


def sample_linked(catalog: Catalog, n: int = MAX_QUERIES) -> list[str]:
    """Return the ids of at most `n` articles with links, drawn by a hash of their ids, ascending."""
    ids = catalog.ids(np.flatnonzero(catalog.links.lengths > 0).tolist())
    return sorted(sorted(ids, key=_hash)[:n])


def linked_articles(
    store: Store, catalog: Catalog, ids: Sequence[str], on_progress: OnProgress, n_jobs: int | None = None
) -> list[LinkedArticle]:
    """Return stored articles with the content signals of their candidates.

    Args:
        store: the store; a snapshot is held for each chunk of articles.
        catalog: the catalog, with all links.
        ids: the articles.
        on_progress: called with "candidates", the number done and the total.
        n_jobs: the maximum number of processes, see `processes.worker_count`.
    """
    articles: list[LinkedArticle] = []
    chunks = [ids[start : start + CHUNK_QUERIES] for start in range(0, len(ids), CHUNK_QUERIES)]
    use_processes = store.guarantees.processes and len(ids) >= MIN_ARTICLES_FOR_PROCESSES
    for part in parallel_map(
        partial(_linked_chunk, store, catalog), chunks, use_processes=use_processes, n_jobs=n_jobs
    ):
        articles += part
        on_progress("candidates", len(articles), len(ids))
    return articles


def _linked_chunk(store: Store, catalog: Catalog, ids: Sequence[str]) -> list[LinkedArticle]:
    with store.snapshot():
        queries = list(stored_queries(store, ids).values())
        scorer, prepared = prepare(store, catalog, queries, CANDIDATES_PER_SIGNAL)
        prepared = [item for item in prepared if item.row >= 0]
        proposed = []
        for item in prepared:
            context = item.context(catalog)
            best = context.links.rows[np.argsort(-context.links.weights, kind="stable")[:MAX_EXTRA]]
            extra = np.unique(np.concatenate([best, context.habitual, context.citing]))
            extra = extra[(extra != item.row) & ~np.isin(extra, item.catalog_rows)]
            proposed.append((item.query, catalog.ids(extra.tolist())))
        scorer, extra_rows = add_articles(store, scorer, proposed)
    catalog_rows = catalog.rows(scorer.signals.ids)
    articles = []
    for item, extra in zip(prepared, extra_rows, strict=True):
        rows = np.concatenate([item.rows, extra])
        rows = rows[catalog_rows[rows] >= 0]
        n_pool = int((catalog_rows[item.rows] >= 0).sum())
        signals = content_signals(item.query, scorer, rows)
        term_ids, fold = np.array(item.query.term_ids), fold_of(item.query.id or "")
        articles.append(LinkedArticle(item.row, fold, term_ids, item.fields, catalog_rows[rows], n_pool, signals))
    return articles


def train(catalog: Catalog, articles: Iterable[LinkedArticle]) -> Trees:
    """Train LightGBM's LambdaRank (Burges 2010) to rank the links of articles first.

    Every second article is seen as new, without the links to it, so that the model ranks for new and old ones.

    Args:
        catalog: the catalog, without the links of test articles.
        articles: the training articles.

    Raises:
        RecommenderError: LightGBM is not installed.
    """
    lightgbm = import_lightgbm()
    matrices, labels, sizes = [], [], []
    for number, article in enumerate(articles):
        context = article.context(catalog, is_new=number % 2 == 0)
        candidates = article.candidates(context)
        label = contains(catalog.links[article.row], article.rows[candidates])
        if not label.any() or label.all():
            continue
        drawn = label | (np.random.default_rng([article.row, number]).random(len(label)) < NEGATIVE_SHARE)
        candidates, label = candidates[drawn], label[drawn]
        matrices.append(feature_matrix(catalog, context, article.rows[candidates], article.signals.at(candidates)))
        labels.append(label.astype(np.int8))
        sizes.append(len(label))
    if not sizes:
        return Trees.from_lightgbm({"tree_info": []})
    dataset = lightgbm.Dataset(np.concatenate(matrices), np.concatenate(labels), group=sizes, params=_PARAMETERS)
    booster = lightgbm.train(_PARAMETERS, dataset, N_TREES)
    return Trees.from_lightgbm(booster.dump_model())


def cross_fit(
    catalog: Catalog, articles: Sequence[LinkedArticle], on_progress: OnProgress, folds: Sequence[int]
) -> Iterator[FittedFold]:
    """Yield for each fold a model that has not seen its links, and the model's rankings of its articles.

    The links from and to all articles of a fold are removed before features are computed and the fold's model is
    trained. As an old article, it is ranked with the links to it from the other folds; as a new one, without them.

    Args:
        catalog: the catalog, with all links.
        articles: the articles; those without links are only ranked.
        on_progress: called with "folds", the number done and the total.
        folds: the folds; NO_FOLD for a model of all links.
    """
    use_processes = len(articles) >= MIN_ARTICLES_FOR_PROCESSES
    function = partial(_fit_fold, catalog, articles)
    for number, fitted in enumerate(parallel_map(function, folds, use_processes=use_processes), start=1):
        yield fitted
        on_progress("folds", number, len(folds))


def _fit_fold(catalog: Catalog, articles: Sequence[LinkedArticle], fold: int) -> FittedFold:
    tested = [article for article in articles if article.fold == fold]
    hidden = np.array(sorted(article.row for article in tested), dtype=np.int64)
    new, old = catalog.without_links_of(hidden), catalog.without_links_of(hidden, to=False)
    trees = train(new, [article for article in articles if article.fold != fold])
    return FittedFold(
        trees,
        [rank(new, article, trees, is_new=True) for article in tested],
        [rank(old, article, trees, is_new=False) for article in tested[:: len(tested) // MAX_OLD + 1]],
    )


def cross_fit_trees(
    store: Store,
    catalog: Catalog,
    training_ids: Sequence[str],
    ids: Sequence[str],
    on_progress: OnProgress,
    n_jobs: int | None = None,
) -> list[tuple[list[str], Trees]]:
    """Return the stored articles of each fold that has any, and trees trained without the links from and to them.

    Args:
        store: the store; a snapshot is held for each chunk of articles.
        catalog: the catalog, with all links.
        training_ids: the articles to train on; those of the fold are left out.
        ids: the articles to return; they need no links.
        on_progress: called with "candidates", the number of training articles done and the total; then with "folds"
            and the number of folds.
        n_jobs: the maximum number of processes, see `processes.worker_count`.
    """
    articles = linked_articles(store, catalog, training_ids, on_progress, n_jobs)
    ids_by_fold = [[id for id in ids if fold_of(id) == fold] for fold in range(FOLDS)]
    ids_by_fold = [fold_ids for fold_ids in ids_by_fold if fold_ids]
    rows_by_fold = (catalog.rows(fold_ids) for fold_ids in ids_by_fold)
    trees_by_fold = parallel_map(
        partial(_train_without, catalog, articles),
        (rows[rows >= 0] for rows in rows_by_fold),
        use_processes=len(articles) >= MIN_ARTICLES_FOR_PROCESSES,
        n_jobs=n_jobs,
    )
    fitted = []
    for fold_ids, trees in zip(ids_by_fold, trees_by_fold, strict=True):
        fitted.append((fold_ids, trees))
        on_progress("folds", len(fitted), len(ids_by_fold))
    return fitted


def _train_without(catalog: Catalog, articles: Iterable[LinkedArticle], rows: NDArray[np.int64]) -> Trees:
    """Train trees without the links from and to the articles at some rows."""
    hidden = set(rows.tolist())
    return train(catalog.without_links_of(rows), (article for article in articles if article.row not in hidden))


def rank(catalog: Catalog, article: LinkedArticle, trees: Trees, *, is_new: bool) -> Ranked:
    """Rank the candidates of an article; its own links enter no feature."""
    context = article.context(catalog, is_new=is_new)
    candidates = article.candidates(context)
    rows = article.rows[candidates]
    signals = article.signals.at(candidates)
    outputs = trees.predict(feature_matrix(catalog, context, rows, signals))
    order = np.lexsort((rows, -outputs))
    content_rows = article.rows[: article.n_pool]
    return Ranked(article.row, rows[order], outputs[order], signals.score[order], content_rows)


def random_pairs(
    store: Store,
    catalog: Catalog,
    articles: Sequence[LinkedArticle],
    partners: Sequence[NDArray[np.int64]],
    trees: Trees,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outputs of the trees, and the content raw scores, for articles with others, given by their rows."""
    ids = catalog.ids(sorted({int(row) for rows in partners for row in rows}))
    outputs, raw_scores = [np.empty(0)], [np.empty(0)]
    with store.snapshot():
        scorer = Scorer(store.signals(ids))
        scorer_row = np.full(catalog.size, -1, dtype=np.int64)
        scorer_row[catalog.rows(scorer.signals.ids)] = np.arange(len(scorer.signals.ids))
        queries = stored_queries(store, catalog.ids(article.row for article in articles))
        for article, id, rows in zip(articles, catalog.ids(item.row for item in articles), partners, strict=True):
            others = rows[(rows != article.row) & (scorer_row[rows] >= 0)]
            if id not in queries or not len(others):
                continue
            signals = content_signals(queries[id], scorer, scorer_row[others])
            context = article.context(catalog, is_new=False)
            outputs.append(trees.predict(feature_matrix(catalog, context, others, signals)))
            raw_scores.append(signals.score)
    return np.concatenate(outputs), np.concatenate(raw_scores)


def ndcg(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return nDCG@10 of a ranking, with relevance 0 or 1 (Järvelin & Kekäläinen 2002); 0 without relevant articles."""
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    ideal = discounts[: min(len(truth), DEPTH)].sum()
    hits = np.isin(rows[:DEPTH], truth)
    return float((discounts[: len(hits)] * hits).sum() / ideal) if ideal else 0.0


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean (percentile bootstrap over queries, 2,000 resamples)."""
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(values), (BOOTSTRAP_RESAMPLES, len(values)), dtype=np.int32)
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8, person=b"fold").digest(), "big")


def import_lightgbm() -> Any:
    """Return the module lightgbm.

    Raises:
        RecommenderError: it is not installed, or cannot be loaded.
    """
    try:
        import lightgbm  # noqa: PLC0415 - an extra that takes seconds to import
    except ImportError as error:
        raise RecommenderError("Training needs LightGBM. Install it: pip install 'recommender[learn]'") from error
    except OSError as error:  # its wheels need the system's OpenMP library, which slim containers lack
        raise RecommenderError(
            f"LightGBM cannot be loaded: {error}. If OpenMP is missing, install it, on Debian and Ubuntu: apt-get "
            f"install libgomp1."
        ) from error
    return lightgbm
