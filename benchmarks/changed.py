"""How `links --changed` differs from a full pass after rounds of changes, and what it costs.

    python benchmarks/changed.py [--index DIR] [--articles 4000] [--rounds 12] [--new 20] [-k 10] [--max-age 40y]

The archive is generated (benchmarks/generated.py), or with --index read from a built index with its vectors. An index
of all articles but the last is made; in each round --new articles are added, a quarter as many are removed, and a
quarter as many get another article's text at their end. Then the blocks that `--changed` wrote in all rounds are
compared with those of a full pass.
"""

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import generated
import numpy as np

from recommender import Article, Recommender
from recommender.embedding.encoder import DenseEncoder
from recommender.store import open_store

Block = list[tuple[str, float]]
START = datetime(2026, 6, 1, tzinfo=UTC)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--articles", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--max-age")
    options = parser.parse_args()
    settings = {"max_age": options.max_age} if options.max_age else {}
    articles, vectors = stored(options.index) if options.index else made_up(options.articles)
    draw = np.random.default_rng(0)
    articles = [articles[row] for row in draw.permutation(len(articles)).tolist()][: options.articles]
    vector_of = {article.id: vectors[article.id] for article in articles}
    DenseEncoder.encode_articles = lambda self, articles, on_done=None: np.stack([vector_of[a.id] for a in articles])
    coming = articles[-options.rounds * options.new :]
    present = articles[: -options.rounds * options.new]
    with tempfile.TemporaryDirectory() as folder, Recommender(Path(folder) / "index") as rec:
        rec.build(present)
        state = Path(folder) / "state"
        published, _, _ = changed(rec, state, options.k, START, settings)
        print(
            f"{len(rec):,} articles, {settings}\n{'round':>6}{'blocks made':>14}{'written':>10}{'seconds':>10}  differ"
        )
        for number in range(1, options.rounds + 1):
            new = coming[(number - 1) * options.new : number * options.new]
            rec.add(new)
            few = max(options.new // 4, 1)
            chosen = [present[row] for row in draw.choice(len(present), 3 * few, replace=False).tolist()]
            removed, edited, remaining = chosen[:few], chosen[few : 2 * few], chosen[2 * few :]
            rec.remove(*(article.id for article in removed))
            present = [article for article in present if article not in removed]
            for article, other in zip(edited, remaining, strict=True):
                mixed = 0.8 * vector_of[article.id] + 0.2 * vector_of[other.id]
                vector_of[article.id] = (mixed / np.linalg.norm(mixed)).astype(np.float32)
            rec.add([replace(a, text=f"{a.text}\n\n{b.text}") for a, b in zip(edited, remaining, strict=True)])
            now = START + timedelta(days=number)
            blocks, changes, seconds = changed(rec, state, options.k, now, settings)
            published |= blocks
            for id in changes.deleted:
                published.pop(id, None)
            print(f"{number:6}{changes.rebuilt:14,}{len(blocks):10,}{seconds:10.1f}  {changes.full}")
        print(difference(published, rec, options.k, now, settings))


def changed(
    rec: Recommender, state: Path, k: int, now: datetime, settings: dict[str, Any]
) -> tuple[dict[str, Block], Any, float]:
    """Return the blocks that differ, what told them, and the seconds that it took."""
    start = time.perf_counter()
    with rec.changed_links(state, k, now=now, **settings) as changes:
        blocks = {id: [(link.id, round(link.score, 2)) for link in block] for id, block in changes.blocks}
    return blocks, changes, time.perf_counter() - start


def difference(published: dict[str, Block], rec: Recommender, k: int, now: datetime, settings: dict[str, Any]) -> str:
    """Return how many blocks differ from a full pass: in their links, in these or their order, in these or a score."""
    start = time.perf_counter()
    counts = Counter({"in links": 0, "in order": 0, "in a score": 0})
    total = len(rec)
    for id, block in rec.links(k, now=now, **settings):
        full = [(link.id, round(link.score, 2)) for link in block]
        ours = published.get(id, [])
        counts["in links"] += {link for link, _ in full} != {link for link, _ in ours}
        counts["in order"] += [link for link, _ in full] != [link for link, _ in ours]
        counts["in a score"] += full != ours
    shares = (f"{name} {100 * count / total:.2f} %" for name, count in counts.items())
    seconds = time.perf_counter() - start
    return f"\ndiffer from a full pass, which takes {seconds:.1f} s: {', '.join(shares)}"


def made_up(n: int) -> tuple[list[Article], dict[str, np.ndarray]]:
    """Return generated articles and their vectors by id."""
    articles = list(generated.articles(n))
    vectors = np.concatenate(list(generated.vectors(n)))
    return articles, dict(zip((article.id for article in articles), vectors, strict=True))


def stored(index: Path) -> tuple[list[Article], dict[str, np.ndarray]]:
    """Return the articles of an index and their vectors by id."""
    store = open_store(index)
    with store.snapshot():
        ids = list(store.ids())
        articles, signals = store.articles(ids), store.signals(ids)
    store.close()
    return [articles[id] for id in ids], dict(zip(signals.ids, signals.vectors, strict=True))


if __name__ == "__main__":
    main()
