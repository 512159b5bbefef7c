"""The report of a training: one self-contained HTML page with figures, charts and held-out blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.evaluation.report import chart_options, check, render_template
from recommender.learning.catalog import Catalog, read_catalog
from recommender.learning.features import GROUPS, feature_matrix, group_columns
from recommender.learning.learn import HeldOutBlock, LearnReport
from recommender.learning.training import LinkedArticle, fold_of, linked_articles, ndcg, rank, sample_linked, train
from recommender.learning.trees import Trees
from recommender.store import Store

TESTED_FOLD = 0
CURVE_SIZES = (30, 100, 300, 1000, 3000, 10_000, 30_000)  # linked articles
MAX_CURVE_QUERIES = 400
MAX_PAIRS, PAIRS_PER_QUERY = 300, 3  # by which importance is measured
MAX_EXAMPLE_BLOCKS = 10  # that improved, and that got worse
MAX_LISTED_QUERIES = 1000
BINS = 20  # of the differences, which are from -1 to 1

OnProgress = Callable[[str, int, int], None]
Truth = Mapping[int, NDArray[np.int64]]  # rows of linked articles, by row


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The quality of a learned ranking of which only some links were known.

    Attributes:
        n_articles: the number of linked articles whose links were known.
        ndcg: nDCG@10 on held-out articles, as new ones.
    """

    n_articles: int
    ndcg: float


def render(store: Store, report: LearnReport, on_progress: OnProgress | None = None) -> str:
    """Return the page: before and after, the learning curve, importance by feature group, and held-out blocks.

    The learning curve and the importance are measured anew on a fifth of the articles, which takes about as long as
    the training.

    Args:
        store: the store.
        report: the result of `learn` on this index; without held-out blocks the page contains its reason only.
        on_progress: called with the stage, the number done and the total.

    Raises:
        RecommenderError: a package for the report, or LightGBM, is not installed.
    """
    check()
    blocks = sorted(report.blocks, key=lambda block: (block.before - block.after, block.id))
    improved = [block for block in blocks if block.after > block.before][:MAX_EXAMPLE_BLOCKS]
    worse = [block for block in reversed(blocks) if block.after < block.before][:MAX_EXAMPLE_BLOCKS]
    listed = sorted(blocks, key=lambda block: (-abs(block.after - block.before), block.id))[:MAX_LISTED_QUERIES]
    titled_ids = {block.id for block in listed}
    for block in (*improved, *worse):
        titled_ids |= {block.id, *block.content, *block.learned, *block.links}
    content_ndcg, curve, importance = _measure(store, report, on_progress or (lambda stage, done, total: None))
    charts = {"differences": _difference_chart(blocks), "queries": _query_chart(blocks)} if blocks else {}
    if curve:
        charts |= {"curve": _curve_chart(curve, content_ndcg), "importance": _importance_chart(importance)}
    with store.snapshot():
        titles = {id: summary.title for id, summary in store.summaries(sorted(titled_ids)).items()}
    return render_template(
        "learn_report.html",
        index=store.name,
        report=report,
        n_better=sum(block.after > block.before for block in blocks),
        n_worse=sum(block.after < block.before for block in blocks),
        quantiles=_quantiles(blocks),
        listed=listed,
        improved=improved,
        worse=worse,
        content_ndcg=content_ndcg,
        curve=curve,
        importance=importance,
        charts=charts,
        titles=titles,
    )


def learning_curve(
    catalog: Catalog, training: Sequence[LinkedArticle], tested: Sequence[LinkedArticle], truth: Truth
) -> tuple[list[CurvePoint], Catalog, Trees]:
    """Measure the ranking that is learned from the links of 30, 100, 300, ... articles, and of all.

    Args:
        catalog: the catalog, with all links; those from and to the tested articles are removed.
        training: the articles to train on.
        tested: the articles to rank, as new ones.
        truth: their links.

    Returns:
        The points; and of the last, with all links, the catalog and the trees.
    """
    reduced = catalog.without_links_of(np.array([article.row for article in tested], dtype=np.int64))
    linked_rows = np.flatnonzero(reduced.links.lengths > 0)
    in_training = np.isin(linked_rows, [article.row for article in training])
    draw = np.random.default_rng(0)
    # Articles to train on first, so that as many as possible of the known links are learned from.
    order = np.concatenate([draw.permutation(linked_rows[in_training]), draw.permutation(linked_rows[~in_training])])
    points, known, trees = [], reduced, Trees.from_lightgbm({"tree_info": []})
    for size in [*(size for size in CURVE_SIZES if size < len(order)), len(order)]:
        rows = order[:size]
        known = reduced if size == len(order) else reduced.with_links_of(rows)
        row_set = set(rows.tolist())
        trees = train(known, [article for article in training if article.row in row_set])
        points.append(CurvePoint(size, mean_ndcg(known, tested, truth, trees)))
    return points, known, trees


def mean_ndcg(catalog: Catalog, tested: Sequence[LinkedArticle], truth: Truth, trees: Trees) -> float:
    """Return the mean nDCG@10 of articles that are ranked as new ones."""
    values = [ndcg(rank(catalog, article, trees, is_new=True).rows, truth[article.row]) for article in tested]
    return float(np.mean(values or [0.0]))


def group_importance(catalog: Catalog, tested: Sequence[LinkedArticle], trees: Trees) -> dict[str, float]:
    """Return the importance of each group of features: its mean absolute Shapley value, as a share of their sum.

    Measured on three of the first ten candidates of each tested article, see `Trees.group_contributions`.
    """
    draw, columns = np.random.default_rng(0), list(group_columns().values())
    totals = np.zeros(len(columns))
    for article in tested[: MAX_PAIRS // PAIRS_PER_QUERY]:
        context = article.context(catalog, is_new=True)
        candidates = article.candidates(context)
        matrix = feature_matrix(catalog, context, article.rows[candidates], article.signals.at(candidates))
        best = np.argsort(-trees.predict(matrix), kind="stable")[:10]
        for row in draw.permutation(best)[:PAIRS_PER_QUERY].tolist():
            totals += np.abs(trees.group_contributions(matrix[row], columns)[1])
    shares = totals / (totals.sum() or 1.0)
    return dict(sorted(zip(GROUPS, shares.tolist(), strict=True), key=lambda pair: -pair[1]))


def _measure(
    store: Store, report: LearnReport, on_progress: OnProgress
) -> tuple[float, list[CurvePoint], dict[str, float]]:
    """Return nDCG@10 by content, the learning curve, and the importance of groups, on one fold of articles."""
    links_of = {block.id: block.links for block in report.blocks if fold_of(block.id) == TESTED_FOLD}
    if not links_of:
        return 0.0, [], {}
    with store.snapshot():
        catalog = read_catalog(store, report.kinds)
    articles = linked_articles(store, catalog, sample_linked(catalog), on_progress)
    row_of = dict(zip(links_of, catalog.rows(list(links_of)).tolist(), strict=True))
    truth = {}
    for id, links in links_of.items():
        rows = catalog.rows(links)
        truth[row_of[id]] = rows[rows >= 0]
    tested = [article for article in articles if article.row in truth][:MAX_CURVE_QUERIES]
    training = [article for article in articles if article.fold != TESTED_FOLD]
    on_progress("report", 0, 1)
    curve, reduced, trees = learning_curve(catalog, training, tested, truth)
    content = [ndcg(article.rows[: article.n_pool], truth[article.row]) for article in tested]
    importance = group_importance(reduced, tested, trees)
    on_progress("report", 1, 1)
    return float(np.mean(content or [0.0])), curve, importance


def _quantiles(blocks: Sequence[HeldOutBlock]) -> dict[str, list[float]]:
    """Return the mean and five quantiles of nDCG@10 by content, learned, and of the difference."""
    if not blocks:
        return {}
    before, after = (np.array([getattr(block, name) for block in blocks]) for name in ("before", "after"))
    return {
        name: [round(float(value), 3) for value in (values.mean(), *np.percentile(values, [5, 25, 50, 75, 95]))]
        for name, values in {"by content": before, "learned": after, "difference": after - before}.items()
    }


def _difference_chart(blocks: Sequence[HeldOutBlock]) -> str:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.Histogram(
        **chart_options(),
        title="Difference in nDCG@10 of each held-out article, learned less content",
        x_title="difference",
        y_title="articles",
        xrange=(-1, 1),
        show_legend=False,
    )
    counts, edges = np.histogram([block.after - block.before for block in blocks], np.linspace(-1.0, 1.0, BINS + 1))
    chart.add("articles", list(zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)))
    return str(chart.render_data_uri())


def _query_chart(blocks: Sequence[HeldOutBlock]) -> str:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.XY(
        **chart_options(),
        title="nDCG@10 of each held-out article",
        x_title="by content",
        y_title="learned",
        stroke=False,
        dots_size=2,
        range=(0, 1),
        xrange=(0, 1),
        show_legend=False,
    )
    chart.add("articles", [(round(block.before, 3), round(block.after, 3)) for block in blocks])
    return str(chart.render_data_uri())


def _curve_chart(curve: Sequence[CurvePoint], content_ndcg: float) -> str:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.Line(
        **chart_options(),
        title="nDCG@10 of held-out articles by the number of linked articles to learn from",
        x_title="linked articles",
        range=(0, 1),
    )
    chart.x_labels = [f"{point.n_articles:,}" for point in curve]
    chart.add("learned", [round(point.ndcg, 4) for point in curve])
    chart.add("by content", [round(content_ndcg, 4)] * len(curve))
    return str(chart.render_data_uri())


def _importance_chart(importance: Mapping[str, float]) -> str:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.HorizontalBar(**chart_options(), title="Importance of the groups of features", show_legend=False)
    ascending = sorted(importance.items(), key=lambda pair: pair[1])  # drawn from below
    chart.x_labels = [group for group, _ in ascending]
    chart.add("importance", [round(share, 4) for _, share in ascending])
    return str(chart.render_data_uri())
