"""How fast an inverted index proposes candidates, and how many of the best by exact lexical score are among them.

    python benchmarks/candidates.py [ARCHIVE] [--articles N] [--fts5]

ARCHIVE is any source of `recommender build`; the default is the examples. With --articles more are made of it than it
holds: each of the sentences of three articles drawn at random, so that terms are commoner than in a real archive of
that size. The exact best are found by a product of sparse matrices. --fts5 also asks SQLite's own inverted index.
"""

import argparse
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
import sentencex
from measuring import EXAMPLES

from recommender.article import Article
from recommender.sources import Source
from recommender.store.local.inverted_index import TermSearch, WeightedTerms, write_inverted_index
from recommender.text import tfidf
from recommender.text.terms import MAX_QUERY_TERMS, extract_terms

QUERIES = 200
BEST = 50
AT_ONCE = 16_384
Terms = dict[str, int]


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", default=EXAMPLES, type=Path)
    parser.add_argument("--articles", type=int)
    parser.add_argument("--fts5", action="store_true")
    options = parser.parse_args()

    articles = [entry.article for entry in Source(options.archive) if entry.article]
    numbers: dict[str, int] = {}
    matrix = counted(terms_of(articles, options.articles), numbers)
    n = matrix.shape[0]
    df = np.bincount(matrix.indices, minlength=matrix.shape[1])
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    weighed = matrix.astype(np.float32)
    totals = np.full(n, n)
    weighed.data = tfidf.tfidf_weights(matrix.data.astype(float), df[matrix.indices], totals, rows, n).astype(
        np.float32
    )
    queries = np.random.default_rng(0).choice(n, min(QUERIES, n), replace=False)
    exact = best(weighed, queries)
    print(f"{n:,} articles made of {options.archive.name}, {matrix.shape[1]:,} terms, {matrix.nnz / n:.0f} an article")
    print(f"{platform.machine()}, SQLite {sqlite3.sqlite_version}\n")
    print(f"{'':24}{'build s':>9}{'MB':>7}{'p50 ms':>9}{'p99 ms':>9}{'of best 50':>12}{'of best 10':>12}")

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        file = write_inverted_index(Path(folder), 1, parts(matrix, df))
        seconds = time.perf_counter() - started
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE removed (key, revision, checksum)")
        search = TermSearch(Path(folder)).updated(connection, file, 1, lambda connection, revision: iter(()))
        for strongest in (10, 20, MAX_QUERY_TERMS):
            for proposed in (BEST, 2 * BEST):

                def ask(row: int, strongest: int = strongest, proposed: int = proposed) -> list[int]:
                    numbers, weights = heaviest(weighed, row, strongest)
                    return search.search(numbers, weights, proposed)

                report(f"{strongest} terms, {proposed}", seconds, file.size, queries, exact, ask)
        if options.fts5:
            database = Path(folder) / "fts5.sqlite"
            started = time.perf_counter()
            connection = sqlite3.connect(database)
            connection.execute("CREATE VIRTUAL TABLE t USING fts5(terms, content='', tokenize='unicode61')")
            connection.executemany(
                "INSERT INTO t(rowid, terms) VALUES (?, ?)",
                ((key, " ".join(np.repeat(numbers, counts).astype(str))) for key, numbers, counts in documents(matrix)),
            )
            connection.commit()
            seconds = time.perf_counter() - started

            def ask_fts5(row: int) -> list[int]:
                numbers, _ = heaviest(weighed, row, 10)  # no weights: FTS5 has no boosts
                rows = connection.execute(
                    "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?",
                    (" OR ".join(f'"{number}"' for number in numbers), BEST),
                )
                return [key for (key,) in rows]

            report("SQLite FTS5 10 terms, 50", seconds, database.stat().st_size, queries, exact, ask_fts5)


def terms_of(articles: list[Article], limit: int | None) -> Iterator[Terms]:
    """Give the terms of the articles, or of as many as are wanted, made of their sentences."""
    if limit is None or limit <= len(articles):
        for article in articles[:limit]:
            yield extract_terms(article.title, article.text, "en")
        return
    draw = random.Random(0)
    # A sentence is counted once, and an article is the sum of its sentences.
    sentences = [
        [extract_terms("", sentence, "en") for sentence in sentencex.segment("en", article.text)] or [{}]
        for article in articles
    ]
    titles = [extract_terms(article.title, "", "en") for article in articles]
    lengths = [len(of_article) for of_article in sentences]
    for _ in range(limit):
        sources = draw.choices(range(len(articles)), k=3)
        length = max(1, lengths[sources[0]])
        parts = [titles[sources[0]], *(draw.choice(sentences[draw.choice(sources)]) for _ in range(length))]
        counts: Terms = {}
        for part in parts:
            for term, count in part.items():
                counts[term] = counts.get(term, 0) + count
        yield counts


def counted(terms: Iterator[Terms], numbers: dict[str, int]) -> scipy.sparse.csr_matrix:
    """Return frequencies by article and term."""
    import array

    starts, columns, counts = array.array("q", [0]), array.array("i"), array.array("H")
    for of_article in terms:
        columns.extend(numbers.setdefault(term, len(numbers)) for term in of_article)
        counts.extend(min(count, 65535) for count in of_article.values())
        starts.append(len(columns))
    matrix = scipy.sparse.csr_matrix(
        (
            np.frombuffer(counts, dtype=np.uint16),
            np.frombuffer(columns, dtype=np.int32),
            np.frombuffer(starts, np.int64),
        ),
        shape=(len(starts) - 1, len(numbers)),
    )
    matrix.sort_indices()  # or a product would do so in a copy that shares the indices and not the frequencies
    return matrix


def parts(matrix: scipy.sparse.csr_matrix, df: np.ndarray) -> Iterator[WeightedTerms]:
    """Give the weighed terms of some rows at a time."""
    for start in range(0, matrix.shape[0], AT_ONCE):
        part = matrix[start : start + AT_ONCE]
        lengths = np.diff(part.indptr).astype(np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        totals = np.full(len(lengths), matrix.shape[0])
        weights = tfidf.tfidf_impacts(part.data.astype(float), df[part.indices], totals, rows, len(lengths))
        yield WeightedTerms(np.arange(start, start + len(lengths)), lengths, part.indices.astype(np.int64), weights)


def documents(matrix: scipy.sparse.csr_matrix) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Give each row's key, term numbers and frequencies."""
    for row in range(matrix.shape[0]):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        yield row, matrix.indices[part], matrix.data[part]


def heaviest(weighed: scipy.sparse.csr_matrix, row: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers and weights of an article's strongest terms."""
    part = slice(weighed.indptr[row], weighed.indptr[row + 1])
    numbers, weights = weighed.indices[part], weighed.data[part]
    order = np.argsort(-weights, kind="stable")[:count]
    order = order[weights[order] > 0]
    return numbers[order], weights[order].astype(float)


def best(weighed: scipy.sparse.csr_matrix, queries: np.ndarray) -> list[list[int]]:
    """Return for each query the articles of the highest lexical cosine, the best first, without itself."""
    rankings = []
    across = weighed.T.tocsr()
    for row in queries:
        scores = (weighed[row] @ across).toarray()[0]
        scores[row] = -1
        top = np.argpartition(-scores, min(BEST, len(scores) - 1))[:BEST]
        rankings.append(top[np.argsort(-scores[top], kind="stable")].tolist())
    return rankings


def report(
    name: str, seconds: float, size: int, queries: np.ndarray, exact: list[list[int]], ask: Callable[[int], list[int]]
) -> None:
    """Ask each query and print a line."""
    times, of_best, of_ten = [], [], []
    for row, top in zip(queries.tolist(), exact, strict=True):
        started = time.perf_counter()
        candidates = set(ask(row))
        times.append(1000 * (time.perf_counter() - started))
        of_best.append(len(candidates.intersection(top)) / len(top))
        of_ten.append(len(candidates.intersection(top[:10])) / len(top[:10]))
    p50, p99 = np.percentile(times, [50, 99])
    print(
        f"{name:24}{seconds:9.1f}{size / 1e6:7.1f}{p50:9.2f}{p99:9.2f}{np.mean(of_best):12.3f}{np.mean(of_ten):12.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
