"""How many blocks hold a copy of their article or of another of their links, as ranked and as shaped.

    python benchmarks/copies.py [ARCHIVE] [--index DIR] [-k N] [--list]

ARCHIVE is any source of `recommender build`; the default is the examples. The index is built in a temporary folder
unless --index names one. A copy is told by a measure that the ranking does not use: the Jaccard similarity of the
sets of runs of five words of title and text, 0.8 or more. It also counts two uses of a template as copies where they
differ in few words, which the blocks keep; --list prints the pairs that are left, to read.
"""

import argparse
import re
import tempfile
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from measuring import EXAMPLES

from recommender import Article, Recommender

SHINGLE = 5  # words
COPY = 0.8


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Recommender(options.index or Path(folder) / "index") as rec:
        if not options.index:
            rec.build(options.archive)
        runs = {article.id: shingles(article) for article in rec}
        print(f"{len(rec):,} articles; the first {options.k} links of each\n")
        print(f"{'':12}{'blocks':>8}{'links':>9}{'with a copy':>13}{'of its article':>16}{'of a link':>11}")
        for name, plain in (("as ranked", True), ("as shaped", False)):
            blocks = {id: [link.id for link in links] for id, links in rec.links(options.k, plain=plain)}
            of_article = {id: pairs(runs, ((id, link) for link in links)) for id, links in blocks.items()}
            of_link = {id: pairs(runs, combinations(links, 2)) for id, links in blocks.items()}
            counts = [sum(map(bool, pairs_by_article.values())) for pairs_by_article in (of_article, of_link)]
            either = sum(bool(of_article[id] or of_link[id]) for id in blocks)
            links = sum(map(len, blocks.values()))
            print(f"{name:12}{len(blocks):8,}{links:9,}{either:13,}{counts[0]:16,}{counts[1]:11,}")
        if options.list:
            copies = [*of_article.values(), *of_link.values()]
            remaining = {tuple(sorted(pair)) for article_pairs in copies for pair in article_pairs}
            for first, second in sorted(remaining):
                print(f"\n{first}  {rec.get(first).title}\n{second}  {rec.get(second).title}")


def shingles(article: Article) -> frozenset[int]:
    """Return the runs of five words of an article, hashed."""
    words = re.findall(r"\w+", f"{article.title} {article.text}".lower())
    return frozenset(hash(tuple(words[start : start + SHINGLE])) for start in range(max(len(words) - SHINGLE + 1, 1)))


def pairs(runs: dict[str, frozenset[int]], candidates: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those of the pairs that are copies."""
    return [pair for pair in candidates if similar(*(runs[id] for id in pair))]


def similar(first: frozenset[int], second: frozenset[int]) -> bool:
    """Tell whether the Jaccard similarity of two sets is 0.8 or more."""
    if min(len(first), len(second)) < COPY * max(len(first), len(second)):
        return False
    shared = len(first & second)
    return shared >= COPY * (len(first) + len(second) - shared)


if __name__ == "__main__":
    main()
