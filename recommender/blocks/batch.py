"""A sweep over the whole archive: in the order that costs least, given in the order of the ids."""

import pickle
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar

from recommender.errors import RecommenderError
from recommender.ranking.matching import chunk_size
from recommender.store import Store
from recommender.system.processes import MIN_ARTICLES_FOR_PROCESSES, parallel_map

Made = TypeVar("Made")

IN_MEMORY = 2**25  # bytes that wait there for their turn; from then on all wait in a temporary file


def map_articles(
    store: Store,
    function: Callable[[Sequence[str]], list[tuple[str, Made]]],
    ids: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    n_jobs: int | None = None,
) -> Iterator[tuple[str, Made]]:
    """Yield what is made of articles, in the order of their ids; many are shared out among processes.

    Near articles have most of what they are compared with in common. So all of a large archive are taken in an order in
    which near ones stand together, if the store knows one, and what is made waits until nothing is left to make.

    Args:
        store: the store.
        function: makes it of the articles with the ids that it is given, with the id of each; can be pickled, as can
            what it makes.
        ids: of which articles, in their order; None for all.
        on_progress: called with how many are made, of how many; before they are given.
        n_jobs: how many processes at most, see `processes.worker_count`.

    Raises:
        RecommenderError: there is no room for a temporary file.
    """
    total = store.count() if ids is None else len(ids)
    many = store.guarantees.processes and total >= MIN_ARTICLES_FOR_PROCESSES
    near = store.ids_in_cluster_order() if many and ids is None else None
    rest = iter(near or (store.ids() if ids is None else ids))
    size = chunk_size(store)
    chunks = iter(lambda: list(islice(rest, size)), [])

    def counted(parts: Iterable[list[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
        done = 0
        for part in parts:
            done += len(part)
            if on_progress:
                on_progress(done, total)
            yield from part

    if near:
        yield from _in_order(
            counted(parallel_map(partial(_pickled, function), chunks, use_processes=True, n_jobs=n_jobs))
        )
    else:
        yield from counted(parallel_map(function, chunks, use_processes=many, n_jobs=n_jobs))


def _pickled(
    function: Callable[[Sequence[str]], list[tuple[str, Made]]], ids: Sequence[str]
) -> list[tuple[str, bytes]]:
    return [(id, pickle.dumps(made, pickle.HIGHEST_PROTOCOL)) for id, made in function(ids)]


def _in_order(pickled: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Any]]:
    """Yield what comes in any order in that of the ids."""
    ids, ends = list[str](), array("q", [0])
    file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closing one that could not be written fails again
    try:
        for id, content in pickled:
            with _told():
                file.write(content)
            ids.append(id)
            ends.append(ends[-1] + len(content))
        for place in sorted(range(len(ids)), key=ids.__getitem__):
            with _told():
                file.seek(ends[place])
                content = file.read(ends[place + 1] - ends[place])
            yield ids[place], pickle.loads(content)  # noqa: S301 - our own, from a file without a name
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _told() -> Iterator[None]:
    """Tell what goes wrong with the temporary file as an error of this package."""
    try:
        yield
    except OSError as error:
        raise RecommenderError(
            f"What was made cannot wait in the temporary folder ({error.strerror}). Make room there, or name another "
            f"one in $TMPDIR, and run the same command again."
        ) from error
