"""The worth and the cost of a learned ranking: nDCG@10 on articles whose links are hidden, memory, and time.

    python benchmarks/learning.py [SOURCE | --index DIR | --generated N] [--hidden 800] [--seeds 5] [--no-groups]

SOURCE is any source of `recommender build` whose articles have links; --index copies an index instead, and trains only
if that has no learned ranking. The default is the examples, which have few links. --generated makes an archive of N
articles (generated.py) that link by a habit: to the first article of their topic, and to the next one of their story.

For each seed so many linked articles are drawn, at most a fifth of them, and all links from and to them are removed;
the rest is learned from. New: no link to the article is known. Old: the links of all other articles are known.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import generated
import numpy as np
from measuring import EXAMPLES, machine
from memory import measured

from recommender import Article, Recommender
from recommender.evaluation.learn_report import group_importance, learning_curve, mean_ndcg
from recommender.learning import features, training
from recommender.learning.catalog import Catalog, LinkKind, read_catalog
from recommender.learning.training import LinkedArticle, linked_articles, ndcg, rank, sample_linked, train
from recommender.store import open_store

N_RELATED = 400  # calls of `related` that are timed, with each ranking


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--generated", type=int, metavar="N")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--hidden", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-groups", action="store_true")
    parser.add_argument("--no-cost", action="store_true")
    options = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        if options.index:
            shutil.copytree(options.index, index)
        else:
            source = habitual(options.generated) if options.generated else options.source
            with Recommender(index, model=options.model) as rec:
                rec.build(source)
        with Recommender(index) as rec:
            if not rec.learned:
                seconds, peak = measured(["learn", "--index", str(index)])
                print(f"recommender learn: {seconds:.0f} s, {peak:,.0f} MB at most")
            facts = rec.learned
            if not facts:
                sys.exit("The learned ranking was not adopted, so there is nothing to compare.")
            print(
                f"{len(rec):,} articles, {facts['links']:,} links ({' and '.join(facts['kinds'])}) of "
                f"{facts['articles']:,} articles",
                flush=True,
            )
            print_quality(index, tuple(facts["kinds"]), options.hidden, options.seeds, groups=not options.no_groups)
            if not options.no_cost:
                print_cost(rec)


def habitual(n: int) -> list[Article]:
    """Return generated articles that link to the first of their topic and to the next of their story."""
    articles = list(generated.articles(n))
    first_of_topic: dict[int, str] = {}
    next_of_story: dict[int, str] = {}
    for article in articles:
        first_of_topic.setdefault(article.metadata["topic"], article.id)
    linked = []
    for article in reversed(articles):
        targets = [first_of_topic[article.metadata["topic"]], next_of_story.get(article.metadata["story"])]
        next_of_story[article.metadata["story"]] = article.id
        # Not the metadata, which would give the story away.
        related = tuple(id for id in targets if id and id != article.id)
        linked.append(replace(article, related=related, metadata={}))
    return linked[::-1]


def print_quality(index: Path, kinds: tuple[LinkKind, ...], n_hidden: int, n_seeds: int, *, groups: bool) -> None:
    """Print nDCG@10 by method and seed, the learning curve, and the worth of the groups of features."""
    store = open_store(index)
    with store.snapshot():
        catalog = read_catalog(store, kinds)
    sample = sample_linked(catalog, training.MAX_QUERIES + n_hidden)
    n_hidden = min(n_hidden, len(sample) // 5)
    articles = linked_articles(store, catalog, sample, lambda stage, done, total: None)
    truth = {article.row: catalog.links[article.row] for article in articles}
    values: dict[str, list[float]] = {}
    for seed in range(n_seeds):
        tested, rest = split(articles, n_hidden, seed)
        rows = np.array([article.row for article in tested])
        reduced, old = catalog.without_links_of(rows), catalog.without_links_of(rows, to=False)
        started = time.perf_counter()
        trees = train(reduced, rest)
        values.setdefault("training, s", []).append(time.perf_counter() - started)
        rankings = {
            "dense": [dense_ranking(article) for article in tested],
            "content": [article.rows[: article.n_pool] for article in tested],
            "learned, new": [rank(reduced, article, trees, is_new=True).rows for article in tested],
            "learned, old": [rank(old, article, trees, is_new=False).rows for article in tested],
        }
        for name, ranked in rankings.items():
            scores = [ndcg(rows, truth[article.row]) for article, rows in zip(tested, ranked, strict=True)]
            values.setdefault(name, []).append(float(np.mean(scores)))
        print(f"seed {seed}: {', '.join(f'{name} {column[-1]:.4f}' for name, column in values.items())}", flush=True)
    print(f"\nnDCG@10, {n_hidden:,} articles hidden{'':4}mean    by seed")
    for name in ("dense", "content", "learned, new", "learned, old", "training, s"):
        print(f"{name:36}{np.mean(values[name]):8.4f}    " + " ".join(f"{value:.4f}" for value in values[name]))
    tested, rest = split(articles, n_hidden, 0)
    curve, reduced, trees = learning_curve(catalog, rest, tested, truth)
    print(f"\n{'linked articles to learn from':36}{'nDCG@10':>8}")
    for point in curve:
        print(f"{point.n_articles:<36,}{point.ndcg:8.4f}", flush=True)
    if groups:
        print_groups(reduced, rest, tested, truth, group_importance(reduced, tested, trees))


def split(articles: Sequence[LinkedArticle], n_hidden: int, seed: int) -> tuple[list, list]:
    """Return the articles to test and those to train on."""
    order = np.random.default_rng(seed).permutation(len(articles)).tolist()
    return [articles[number] for number in order[:n_hidden]], [articles[number] for number in order[n_hidden:]]


def dense_ranking(article: LinkedArticle) -> np.ndarray:
    """Return the candidates by content in the order of the dense cosine."""
    return article.rows[: article.n_pool][np.argsort(-article.signals.dense[: article.n_pool], kind="stable")]


def print_groups(
    catalog: Catalog,
    rest: Sequence[LinkedArticle],
    tested: Sequence[LinkedArticle],
    truth: dict,
    importance: dict[str, float],
) -> None:
    """Print nDCG@10 without each group of features and with it alone, and its share of the Shapley values."""
    print(f"\n{'nDCG@10 of new articles, seed 0':36}{'without':>8}{'alone':>8}{'importance':>12}")
    every = set(range(len(features.FEATURES)))
    for group, columns in features.group_columns().items():
        scores = []
        for hidden in (set(columns), every - set(columns)):
            with hidden_features(sorted(hidden)):
                scores.append(mean_ndcg(catalog, tested, truth, train(catalog, rest)))
        print(f"{group:36}{scores[0]:8.4f}{scores[1]:8.4f}{importance[group]:12.1%}", flush=True)
    proposed = features.QueryContext.proposed
    features.QueryContext.proposed = lambda context: np.empty(0, dtype=np.int64)
    try:
        score = mean_ndcg(catalog, tested, truth, train(catalog, rest))
    finally:
        features.QueryContext.proposed = proposed
    print(f"{'candidates proposed by links':36}{score:8.4f}", flush=True)


@contextmanager
def hidden_features(columns: list[int]) -> Iterator[None]:
    """Set some features to zero inside, in training and in ranking."""

    def without(*arguments: object) -> np.ndarray:
        matrix = features.feature_matrix(*arguments)
        matrix[:, columns] = 0.0
        return matrix

    training.feature_matrix = without
    try:
        yield
    finally:
        training.feature_matrix = features.feature_matrix


def print_cost(rec: Recommender) -> None:
    """Print the time of `related` and of `links`, by content and learned."""
    ids = [article.id for article in rec]
    drawn = [ids[number] for number in np.random.default_rng(0).permutation(len(ids))[: N_RELATED + 50].tolist()]
    seconds: dict[str, list[float]] = {"content": [], "learned": []}
    for number, id in enumerate(drawn):
        for ranking, times in seconds.items():
            started = time.perf_counter()
            rec.related(id, ranking=ranking)
            if number >= min(50, len(drawn) // 2):  # the first warm up
                times.append(time.perf_counter() - started)
    medians = {ranking: 1000 * float(np.median(times)) for ranking, times in seconds.items()}
    print(f"\n{'':36}{'content':>10}{'learned':>10}{'ratio':>8}")
    print_ratio("related, p50 in ms", medians)
    whole = {}
    for ranking in seconds:
        started = time.perf_counter()
        for _ in rec.links(10, ranking=ranking):
            pass
        whole[ranking] = time.perf_counter() - started
    print_ratio("links -k 10 of all, s", whole)


def print_ratio(name: str, values: dict[str, float]) -> None:
    """Print a row of the table of costs."""
    print(f"{name:36}{values['content']:10.2f}{values['learned']:10.2f}{values['learned'] / values['content']:8.2f}")


if __name__ == "__main__":
    main()
