"""Batches: a function of all articles, computed in the cheapest order and yielded in the order of the ids."""

import pickle
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar

from recommender.errors import RecommenderError
from recommender.ranking.query import chunk_size
from recommender.store import Store
from recommender.system.processes import MIN_ARTICLES_FOR_PROCESSES, parallel_map

Result = TypeVar("Result")

MAX_MEMORY_BYTES = 2**25  # of results that wait in memory; more wait in a temporary file


def map_articles(
    store: Store,
    function: Callable[[Sequence[str]], list[tuple[str, Result]]],
    ids: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    n_jobs: int | None = None,
) -> Iterator[tuple[str, Result]]:
    """Yield the results of a function of articles, in the order of their ids; large archives use several processes.

    Neighbouring articles share most of their candidates. So a large archive is processed cluster by cluster, if the
    store has clusters, and all results wait until the last is computed.

    Args:
        store: the store.
        function: returns the results for a list of ids, each with its id; function and results can be pickled.
        ids: the articles, in their order; None for all.
        on_progress: called with the number of results and the total, before they are yielded.
        n_jobs: how many processes at most, see `processes.worker_count`.

    Raises:
        RecommenderError: there is no space for a temporary file.
    """
    total = store.count() if ids is None else len(ids)
    in_parallel = store.guarantees.processes and total >= MIN_ARTICLES_FOR_PROCESSES
    clustered_ids = store.ids_in_cluster_order() if in_parallel and ids is None else None
    remaining = iter(clustered_ids or (store.ids() if ids is None else ids))
    size = chunk_size(store)
    chunks = iter(lambda: list(islice(remaining, size)), [])

    def report(parts: Iterable[list[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
        done = 0
        for part in parts:
            done += len(part)
            if on_progress:
                on_progress(done, total)
            yield from part

    if clustered_ids:
        pickled = parallel_map(partial(_pickle_results, function), chunks, use_processes=True, n_jobs=n_jobs)
        yield from _sort_by_id(report(pickled))
    else:
        yield from report(parallel_map(function, chunks, use_processes=in_parallel, n_jobs=n_jobs))


def _pickle_results(
    function: Callable[[Sequence[str]], list[tuple[str, Result]]], ids: Sequence[str]
) -> list[tuple[str, bytes]]:
    return [(id, pickle.dumps(result, pickle.HIGHEST_PROTOCOL)) for id, result in function(ids)]


def _sort_by_id(pickled: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Any]]:
    """Yield pickled results in the order of their ids, unpickled."""
    ids, offsets = list[str](), array("q", [0])
    file = SpooledTemporaryFile(MAX_MEMORY_BYTES)  # noqa: SIM115 - closing after a failed write fails again
    try:
        for id, content in pickled:
            with _translate_errors():
                file.write(content)
            ids.append(id)
            offsets.append(offsets[-1] + len(content))
        for index in sorted(range(len(ids)), key=ids.__getitem__):
            with _translate_errors():
                file.seek(offsets[index])
                content = file.read(offsets[index + 1] - offsets[index])
            yield ids[index], pickle.loads(content)  # noqa: S301 - written above, to a file without a name
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate errors of the temporary file into this package's errors."""
    try:
        yield
    except OSError as error:
        raise RecommenderError(
            f"Results cannot be written to the temporary folder ({error.strerror}). Make room there, or name another "
            f"one in $TMPDIR, and run the same command again."
        ) from error
