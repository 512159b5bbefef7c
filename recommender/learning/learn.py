"""Learn: train a ranking on an index's links, measure it on held-out articles, and adopt it only if it wins."""

import hashlib
import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from recommender.errors import IndexDamagedError, RecommenderError
from recommender.learning.catalog import Catalog, LinkKind, read_catalog, read_links
from recommender.learning.model import RankingModel, calibrate, lower
from recommender.learning.ranker import ContentRanker, LearnedRanker, Ranker
from recommender.learning.training import (
    DEPTH,
    FOLDS,
    NO_FOLD,
    FittedFold,
    bootstrap_interval,
    cross_fit,
    import_lightgbm,
    linked_articles,
    ndcg,
    random_pairs,
    sample_linked,
)
from recommender.learning.trees import Trees
from recommender.ranking.query import display_scale
from recommender.store import Store

LEARNED_RANKING, CATALOG = "learned_ranking", "learned_catalog"  # names of the stored model and catalog
MIN_LINKS = 60  # below it a learned ranking is worse than none
MIN_TESTED = 10  # articles
MIN_GAIN = 0.01  # of the lower end of the interval; among random links, chance makes differences of some thousandths
STALE_SHARE = 0.2  # of the links changed since training, above which a model is out of date
SKETCH_SIZE = 1024  # link hashes, by which changes are estimated
QUICK_ARTICLES = 1000  # by which kinds of links are compared
LOW_SCORE, LOW_SHARE = 0.2, 0.99  # the display score that this share of random pairs does not exceed
RANDOM_ARTICLES, RANDOM_PARTNERS = 256, 32  # of the random pairs for the calibration
ALL_KINDS: tuple[LinkKind, ...] = ("related", "links")

Kinds = tuple[LinkKind, ...]
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class HeldOutBlock:
    """The first ten candidates of a held-out article by both rankings.

    Attributes:
        id: of the article.
        before: nDCG@10 of the content ranking.
        after: nDCG@10 of the learned ranking.
        content: the ids of the first ten by content.
        learned: the ids of the first ten of the learned ranking.
        links: the ids that the archive links to.
    """

    id: str
    before: float
    after: float
    content: tuple[str, ...]
    learned: tuple[str, ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LearnReport:
    """The result of `learn`.

    Attributes:
        adopted: whether the learned ranking is now used.
        reason: why it is, or is not, as a sentence.
        links: the number of links of the archive that it learned from.
        articles: the number of articles with such links.
        kinds: the kinds of links: "related", "links" or both.
        tested: the number of held-out articles.
        before: "ndcg@10" of the content ranking on held-out articles.
        after: "ndcg@10" of the learned ranking on the same, as new articles: links to them are hidden too.
        gain: the 95 % confidence interval of the mean difference between the two.
        after_old: "ndcg@10" of the learned ranking where other articles' links to the held-out article are known;
            over a part of them if there are many.
        trained: when, as ISO 8601.
        seconds: how long it took.
        blocks: the held-out articles with their rankings as new articles.
    """

    adopted: bool
    reason: str
    links: int = 0
    articles: int = 0
    kinds: Kinds = ()
    tested: int = 0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    gain: tuple[float, float] = (0.0, 0.0)
    after_old: dict[str, float] = field(default_factory=dict)
    trained: str = ""
    seconds: float = 0.0
    blocks: tuple[HeldOutBlock, ...] = field(default=(), repr=False)

    def to_record(self) -> dict[str, Any]:
        """Return the report as values for JSON, without the blocks."""
        return {name: getattr(self, name) for name in LearnReport.__slots__ if name != "blocks"}


def learn(store: Store, on_progress: OnProgress) -> LearnReport:
    """Train a ranking, measure it on held-out articles, and store it if it wins; else leave the index as it is.

    Args:
        store: the store; hold the right to write.
        on_progress: called with the stage, the number done and the total.

    Raises:
        RecommenderError: LightGBM is not installed.
    """
    started = time.perf_counter()
    import_lightgbm()
    with store.snapshot():
        catalog = read_catalog(store, ())
        catalog_of: dict[Kinds, Catalog] = {
            (kind,): catalog.with_links(read_links(store, (kind,))) for kind in ALL_KINDS
        }
        counts = {kind: len(catalog_of[kind,].links.values) for kind in ALL_KINDS}
        kinds: Kinds = tuple(kind for kind in ALL_KINDS if counts[kind] >= MIN_LINKS)
        if len(kinds) > 1:
            catalog_of[kinds] = catalog.with_links(read_links(store, kinds))
    if not kinds:
        return LearnReport(
            adopted=False,
            reason=f"The archive has {counts['related']:,} editorial links and {counts['links']:,} links in its texts "
            f"between articles of the index; {MIN_LINKS} are needed to learn from.",
            links=max(counts.values()),
        )
    truth = catalog_of[kinds[:1]]  # editorial links, if there are enough
    if len(kinds) > 1:
        options: list[Kinds] = [(kind,) for kind in kinds] + [kinds]
        kinds = max(options, key=lambda option: _quick_ndcg(store, catalog_of[option], truth, on_progress))
    catalog = catalog_of[kinds]
    articles = linked_articles(store, catalog, sample_linked(catalog), on_progress)
    whole, *folds = cross_fit(catalog, articles, on_progress, [NO_FOLD, *range(FOLDS)])
    report = _measured(folds, truth, catalog, kinds)
    report = replace(
        report,
        trained=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - started, 1),
    )
    if report.adopted:
        outputs, levels = _calibration(store, catalog, folds, whole.trees)
        model = RankingModel(whole.trees, outputs, levels, kinds, report.to_record(), sketch(catalog))
        store.put_arrays(CATALOG, None)  # never a catalog of other kinds of links beside a model
        store.put_document(LEARNED_RANKING, model.to_text())
        store.put_arrays(CATALOG, catalog.to_arrays())
    return report


def forget(store: Store) -> bool:
    """Remove the learned ranking; return whether there was one. Hold the right to write."""
    existed = LEARNED_RANKING in store.document_names()  # a damaged one cannot be read
    if existed:
        store.put_document(LEARNED_RANKING, None)
        store.put_arrays(CATALOG, None)
    return existed


def refresh_catalog(store: Store) -> None:
    """Bring the catalog up to date with the articles, if there is a learned ranking. Hold the right to write."""
    model = stored_model(store)
    if model is None:
        return
    with store.snapshot():
        previous = _stored_catalog(store, model)
        if previous and previous.revision == store.revision()[1]:
            return
        catalog = read_catalog(store, model.kinds, previous)
    store.put_arrays(CATALOG, catalog.to_arrays())


def changed_share(store: Store) -> float:
    """Return which share of the links has changed since the ranking was trained, estimated by MinHash (Broder 1997).

    0 without a learned ranking.
    """
    model = stored_model(store)
    if model is None:
        return 0.0
    with store.snapshot():
        present = set(sketch(current_catalog(store, model)))
    smallest = set(heapq.nsmallest(SKETCH_SIZE, present | set(model.sketch)))
    common = len(smallest & present & set(model.sketch))
    return 1.0 - common / max(len(smallest), 1)


def stored_model(store: Store) -> RankingModel | None:
    """Return the learned ranking of an index; None if there is none.

    Raises:
        IndexDamagedError: it is damaged.
    """
    text = store.document(LEARNED_RANKING)
    if text is None:
        return None
    cached = _models.get(store)
    if cached is None or cached[0] is not text:
        cached = _models[store] = (text, RankingModel.from_text(text, store.name))
    return cached[1]


def usable_model(store: Store) -> RankingModel | None:
    """Return the learned ranking of an index; None if there is none, or if it is damaged, which is logged once."""
    try:
        return stored_model(store)
    except IndexDamagedError as error:
        if _reported.get(store) != str(error):
            _reported[store] = str(error)
            _log.warning("%s Until then blocks are ranked by content.", error)
        return None


def make_ranker(store: Store, ranking: str | None) -> Ranker:
    """Return the ranker of blocks. Hold a snapshot.

    Args:
        store: the store.
        ranking: "learned", "content", or None for the learned ranking if there is a usable one.

    Raises:
        IndexDamagedError: the learned ranking is requested, and is damaged.
    """
    model = None if ranking == "content" else stored_model(store) if ranking == "learned" else usable_model(store)
    return ContentRanker(store) if model is None else LearnedRanker(store, model, current_catalog(store, model))


def make_held_out_ranker(store: Store, model: RankingModel, hidden_ids: Sequence[str]) -> LearnedRanker:
    """Return a learned ranker without the links from and to some articles. Hold a snapshot.

    Args:
        store: the store.
        model: a model that was trained without these links.
        hidden_ids: the articles.
    """
    catalog = current_catalog(store, model)
    rows = catalog.rows(hidden_ids)
    rows = rows[rows >= 0]
    key = rows.tobytes()
    cached = _reduced_catalogs.get(store)
    if cached is None or cached[0] is not catalog or cached[1] != key:
        cached = _reduced_catalogs[store] = (catalog, key, catalog.without_links_of(rows))
    return LearnedRanker(store, model, cached[2])


def current_catalog(store: Store, model: RankingModel) -> Catalog:
    """Return the catalog of an index.

    A stored one that other processes bring up to date is used as it is; else one is read and remembered until the
    index changes.
    """
    revision, cached = store.revision(), _catalogs.get(store)
    if cached and cached[:2] == (revision, model.kinds):
        return cached[2]
    stored = _stored_catalog(store, model)
    if stored and (store.guarantees.arrays == "all" or stored.revision == revision[1]):
        return stored
    previous = cached[2] if cached and cached[1] == model.kinds else stored
    catalog = read_catalog(store, model.kinds, previous)
    _catalogs[store] = (revision, model.kinds, catalog)
    return catalog


def ranking_state(store: Store) -> list[object]:
    """Return a digest of the learned ranking and the revision of its catalog; an empty list without a usable one.

    Blocks of the learned ranking stay the same while this and the index do. Hold a snapshot.
    """
    model = usable_model(store)
    if model is None:
        return []
    text = store.document(LEARNED_RANKING) or ""
    return [hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), current_catalog(store, model).revision]


def problems(store: Store) -> Iterator[str]:
    """Yield a sentence if the document of the learned ranking is as it was written, and no ranking all the same."""
    with suppress(RecommenderError):  # of a document that cannot be read, which `Store.verify` reports
        store.document(LEARNED_RANKING)
        try:
            stored_model(store)
        except IndexDamagedError as error:
            yield str(error)


def sketch(catalog: Catalog) -> tuple[int, ...]:
    """Return the smallest hashes of the links of a catalog, ascending."""
    sources = np.repeat(np.arange(catalog.size), catalog.links.lengths)
    hashes = catalog.id_hashes
    mixed = (hashes[sources] * np.uint64(0x9E3779B97F4A7C15)) ^ hashes[catalog.links.values]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return tuple(np.sort(mixed >> np.uint64(12))[:SKETCH_SIZE].tolist())


_models: WeakKeyDictionary[Store, tuple[str, RankingModel]] = WeakKeyDictionary()  # parsed from the text beside it
_catalogs: WeakKeyDictionary[Store, tuple[object, Kinds, Catalog]] = WeakKeyDictionary()  # of the arrays beside it
# Without the links of held-out articles: the whole catalog, the bytes of the rows of these, and the reduced catalog.
_reduced_catalogs: WeakKeyDictionary[Store, tuple[Catalog, bytes, Catalog]] = WeakKeyDictionary()
_reported: WeakKeyDictionary[Store, str] = WeakKeyDictionary()  # damage that was logged
_log = logging.getLogger("recommender")


def _stored_catalog(store: Store, model: RankingModel) -> Catalog | None:
    """Return the catalog as it was last stored; None without one."""
    arrays = store.arrays(CATALOG)
    if arrays is None:
        return None
    cached = _catalogs.get(store)
    if cached is None or cached[0] is not arrays:
        catalog = Catalog.load(arrays)
        if catalog is None:
            return None
        cached = _catalogs[store] = (arrays, model.kinds, catalog)
    return cached[2]


def _quick_ndcg(store: Store, catalog: Catalog, truth: Catalog, on_progress: OnProgress) -> float:
    """Return nDCG@10 on one fold of a smaller sample, by which kinds of links are chosen."""
    articles = linked_articles(store, catalog, sample_linked(truth, QUICK_ARTICLES), on_progress)
    (fold,) = cross_fit(catalog, articles, on_progress, [0])
    return float(np.mean([ndcg(ranked.rows, truth.links[ranked.row]) for ranked in fold.new] or [0.0]))


def _measured(folds: Sequence[FittedFold], truth: Catalog, catalog: Catalog, kinds: Kinds) -> LearnReport:
    tested = [ranked for fold in folds for ranked in fold.new if len(truth.links[ranked.row])]
    tested_old = [ranked for fold in folds for ranked in fold.old if len(truth.links[ranked.row])]
    numbers: dict[str, Any] = {
        "links": len(catalog.links.values),
        "articles": int((catalog.links.lengths > 0).sum()),
        "kinds": kinds,
        "tested": len(tested),
    }
    if len(tested) < MIN_TESTED:
        reason = f"Only {len(tested)} articles have links to test with; {MIN_TESTED} are needed."
        return LearnReport(adopted=False, reason=reason, **numbers)
    before = np.array([ndcg(ranked.content_rows, truth.links[ranked.row]) for ranked in tested])
    after = np.array([ndcg(ranked.rows, truth.links[ranked.row]) for ranked in tested])
    after_old = np.array([ndcg(ranked.rows, truth.links[ranked.row]) for ranked in tested_old] or [0.0])
    low, high = bootstrap_interval(after - before)
    adopted = low > MIN_GAIN
    figures = f"nDCG@10 on held-out articles: {before.mean():.3f} by content, {after.mean():.3f} learned"
    reason = f"{figures}; the difference is {low:+.3f} to {high:+.3f} with 95 % confidence"
    blocks = tuple(
        HeldOutBlock(
            catalog.ids([ranked.row])[0],
            float(score_before),
            float(score_after),
            tuple(catalog.ids(ranked.content_rows[:DEPTH].tolist())),
            tuple(catalog.ids(ranked.rows[:DEPTH].tolist())),
            tuple(catalog.ids(truth.links[ranked.row].tolist())),
        )
        for ranked, score_before, score_after in zip(tested, before.tolist(), after.tolist(), strict=True)
    )
    return LearnReport(
        adopted=adopted,
        reason=f"{reason}." if adopted else f"{reason}, which is not above {MIN_GAIN:.2f}, so it is not adopted.",
        before={"ndcg@10": round(float(before.mean()), 4)},
        after={"ndcg@10": round(float(after.mean()), 4)},
        gain=(round(low, 4), round(high, 4)),
        after_old={"ndcg@10": round(float(after_old.mean()), 4)},
        blocks=blocks,
        **numbers,
    )


def _calibration(
    store: Store,
    catalog: Catalog,
    folds: Sequence[FittedFold],
    trees: Trees,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the knots of the calibration, from held-out candidates and as many random pairs of articles.

    Of random pairs 99 % have a display score of 0.2 or less, or the share by the content ranking if that is smaller: in
    a small archive more than one random pair in a hundred is related.
    """
    held_out = [ranked for fold in folds for ranked in (*fold.new, *fold.old)]
    outputs = [ranked.outputs for ranked in held_out]
    raw_scores = [ranked.raw_scores for ranked in held_out]
    generator = np.random.default_rng(0)
    ids = catalog.ids(np.unique(generator.integers(0, catalog.size, RANDOM_ARTICLES)).tolist())
    sample = linked_articles(store, catalog, ids, lambda stage, done, total: None)
    partners = [generator.integers(0, catalog.size, RANDOM_PARTNERS) for _ in sample]
    random_outputs, random_scores = random_pairs(store, catalog, sample, partners, trees)
    repeats = max(sum(map(len, outputs)) // max(len(random_outputs), 1), 1)
    knots = calibrate(
        np.concatenate([*outputs, *([random_outputs] * repeats)]),
        np.concatenate([*raw_scores, *([random_scores] * repeats)]),
    )
    with store.snapshot():
        low_raw_score = display_scale(store).raw_score(LOW_SCORE)
    low_share = min(LOW_SHARE, float(np.mean(random_scores <= low_raw_score))) if len(random_scores) else LOW_SHARE
    return lower(*knots, float(np.quantile(random_outputs, low_share)), low_raw_score)
