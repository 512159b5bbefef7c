"""Reading and embedding on a Ray cluster, as a pipeline of Ray Data; the process that asked for it stores the result.

Tasks read the sources, each a part of them, into chunks; others embed those, in processes that load the model once.
They come back in the order of the sources. Ray schedules, holds back what runs ahead, and does again what was lost.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import re
import socket
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.embedding.encoder import DenseEncoder
from recommender.errors import RecommenderError
from recommender.indexing.analysis import analyze_if_language_known
from recommender.indexing.item import SourceItem
from recommender.sources import Entry, Source
from recommender.store import Store
from recommender.text.terms import TERM_SETTINGS

__all__ = ["AUTO", "LOCAL", "SourceItem", "check_address", "read_on_ray"]

AUTO, LOCAL = "auto", "local"
CHUNK = 64  # articles embedded at once by a core: three seconds or less
CHUNK_OF_GPU = 512
MOST = 1024  # entries in a chunk, most of which are stored already
LONG = 2**21  # characters of their texts past which a chunk has fewer
PART = 2**22  # bytes of the files of a folder that one task reads
REACHED_SECONDS = 10.0  # in which a cluster has to answer
PAGE = 1024

_ADDRESS = re.compile(r"(\[[^\]]+\]|[^:/\s]+):(\d+)")


@dataclass(frozen=True, slots=True)
class _Part:
    """What one task reads: a source, or what only the process that asked could read."""

    feed: int
    before: int  # bytes of the source in the parts before this
    folder: str  # that relative paths start from
    content: Source | list[Entry]


@dataclass(frozen=True, slots=True)
class _Model:
    """What an encoder is made of on another machine."""

    name: str
    max_tokens: int
    files: Mapping[str, bytes] | None
    hash: str

    def encoder(self, threads: int) -> DenseEncoder:
        encoder = DenseEncoder(self.name, self.max_tokens, self.files, threads)
        if encoder.hash != self.hash:
            raise RecommenderError(
                f"the model {self.name} is another one there (hash {encoder.hash[:12]}, and {self.hash[:12]} here). "
                f"Put the same files on every machine, or name a folder that all of them share"
            )
        return encoder


# What goes from task to task: entries, or why there are none. An error raised in a task would come back as Ray's own.
_Chunk = list[SourceItem] | RecommenderError


def check_address(address: str) -> None:
    """Refuse what cannot be the address of a cluster.

    Raises:
        ValueError: it cannot be.
    """
    if address.startswith("ray://"):
        raise ValueError(
            f"{address!r} is for Ray's client, through which Ray Data does not run; run this on a machine of the "
            f"cluster, with 'auto'"
        )
    if address not in (AUTO, LOCAL) and not _ADDRESS.fullmatch(address):
        raise ValueError(
            f"{address!r} is no address of a Ray cluster; give 'auto' for the one that this machine belongs to, "
            f"'local' for this machine alone, or HOST:PORT"
        )


@contextlib.contextmanager
def read_on_ray(
    address: str, sources: Sequence[Source | Iterable[Entry]], store: Store, encoder: DenseEncoder
) -> Iterator[Iterator[SourceItem]]:
    """Read and embed sources on a cluster, in their order. Articles whose content is stored get no vector.

    Args:
        address: see `check_address`.
        sources: what is read. Standard input and what is no Source are read here, whole and before all else.
        store: of which it is known what is stored.
        encoder: what embeds; the cluster makes its own of the same model.

    Raises:
        RecommenderError: there is no such cluster, a machine of it lacks something, or it fails.
    """
    ray = _imported()
    model = _Model(encoder.name, encoder.max_tokens, encoder.files or None, encoder.hash)
    with _connected(ray, address):
        paths = [str(source.path) for source in sources if isinstance(source, Source) and source.path]
        shared = ray.put(model)
        _look(ray, paths, shared)
        # Closed before the cluster is left: Ray would start anew for whatever is asked of it later.
        with contextlib.closing(_run(ray, sources, shared, cpu_only=encoder.cpu_only, stored=_stored(store))) as coming:
            yield coming


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent that nobody asked for
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is told by us
    try:
        import pyarrow  # noqa: PLC0415, F401
        import ray  # noqa: PLC0415 - takes seconds
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise RecommenderError(
            f"A cluster needs Ray, which is not installed ({error}): pip install 'recommender[ray]'"
        ) from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Join a cluster, or start one of this machine; what was joined goes on when it is left."""
    check_address(address)
    if address == AUTO and ray.is_initialized():  # by the program that calls this one
        yield
        return
    place = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _silent(), silence_stderr():
            if found := _ADDRESS.fullmatch(place):
                socket.create_connection((found[1].strip("[]"), int(found[2])), REACHED_SECONDS).close()
                if hasattr(ray._raylet, "GcsClient"):  # which `ray status` uses, too; what follows would wait for long
                    ray._raylet.GcsClient(address=place)
            ray.init(place, **quiet, **({"include_dashboard": False} if place == LOCAL else {}))
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError, OverflowError) as error:
        raise RecommenderError(
            f"No Ray cluster can be joined at {place!r} ({_line(error)}). Start one with `ray start --head`, name its "
            f"address, or take this machine alone with 'local'."
        ) from error
    with _silent():
        try:
            yield
        finally:
            ray.shutdown()  # ends all that runs for this process


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Ray's own lines from standard error; its files keep all, and what the program has at the root stays."""
    handlers = [handler for name in ("ray", "ray.data") for handler in logging.getLogger(name).handlers]
    own = [one for one in handlers if isinstance(one, logging.StreamHandler) and one not in logging.root.handlers]
    levels = [handler.level for handler in own]
    for handler in own:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(own, levels, strict=True):
            handler.setLevel(level)


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Keep what Ray's C++ part writes as it starts from standard error, where a progress bar stands."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _line(error: BaseException) -> str:
    """Return what an error says, or the one that it was raised for, in one line."""
    while cause := getattr(error, "cause", None) or error.__cause__:
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": .")


def _look(ray: Any, paths: Sequence[str], model: Any) -> None:
    """Have every machine look whether it has what it needs; refuse if one lacks something.

    A model is converted there now, once, and not by each of its processes.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    task = ray.remote(num_cpus=0, max_retries=1)(missing_on_node)
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = node["NodeManagerHostname"]
            answer = task.options(scheduling_strategy=there).remote(str(Path.cwd()), list(paths), model, _release())
            asked[answer] = name
    for answer, name in asked.items():
        try:
            missing = ray.get(answer)
        except ray.exceptions.RayTaskError as error:  # the package is not there, or another version
            missing = f"{_line(error)}. The same recommender, with the extra 'ray', must be installed there"
        except ray.exceptions.RayError:  # the machine has gone
            continue
        if missing:
            raise RecommenderError(f"The machine {name} of the Ray cluster cannot take part: {missing}.")


def _release() -> tuple[str, dict[str, Any]]:
    """Return what has to be the same for terms to be the same."""
    from importlib.metadata import version  # noqa: PLC0415 - takes 10 ms, and only a cluster needs it

    return version("recommender"), TERM_SETTINGS


def missing_on_node(folder: str, paths: Sequence[str], model: _Model, release: tuple[str, dict[str, Any]]) -> str:
    """Return what this machine lacks to read and embed, or nothing."""
    if release != _release():
        return f"it has another recommender ({_release()[0]}, and {release[0]} here). Install the same on all machines"
    if unseen := _unseen(folder, paths):
        return unseen
    try:
        model.encoder(1).encode_query("")
    except RecommenderError as error:
        return str(error).rstrip(".")
    return ""


def _unseen(folder: str, paths: Iterable[str]) -> str:
    for path in paths:
        if not Path(folder, path).exists():
            return (
                f"it does not see {Path(folder, path)}. Sources must be on storage that all machines of the cluster "
                f"share, at the same path"
            )
    return ""


def _stored(store: Store) -> NDArray[np.uint64]:
    """Return a digest of the id and the content of each article that is stored, in ascending order.

    Eight bytes an article go to the machines, which then need not see the index. Two that are the same by chance would
    cost nothing but that the process that stores has to embed one.
    """
    digests: list[NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
    ids = store.ids() if store.exists() else iter(())
    while page := list(islice(ids, PAGE)):
        stamps = store.content_hashes(page)
        digests.append(_digests((id, stamp.content_hash) for id, stamp in stamps.items()))
    return np.sort(np.concatenate(digests))


def _digests(contents: Iterable[tuple[str, bytes]]) -> NDArray[np.uint64]:
    made = (hashlib.blake2b(id.encode(errors="replace") + content, digest_size=8).digest() for id, content in contents)
    return np.frombuffer(b"".join(made), dtype=np.uint64)


def _run(
    ray: Any, sources: Sequence[Source | Iterable[Entry]], model: Any, *, cpu_only: bool, stored: NDArray[np.uint64]
) -> Generator[SourceItem, None, None]:
    from ray.data import DataContext, TaskPoolStrategy  # noqa: PLC0415

    gpus = not cpu_only and ray.cluster_resources().get("GPU", 0) >= 1  # where some models never compute
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # a chunk is a row, and a row a block
    with DataContext.current(context):
        parts = [ray.put(_row(part)) for part in _parts(sources)]
        if not parts:
            return
        readers = min(max(len(ray.nodes()), 2), len(parts))
        read = {"stored": ray.put(stored), "size": CHUNK_OF_GPU if gpus else CHUNK}
        # Reading takes a core so little of the time that it claims none: the cores are for embedding.
        chunks = ray.data.from_arrow_refs(parts).map_batches(
            _read,
            fn_kwargs=read,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,
            compute=TaskPoolStrategy(size=readers),
        )
        # Tasks and not actors: an actor of a machine that is lost waits, with what it was given, for a core that nobody
        # uses, and all that comes after waits for that. A process keeps its model from one task to the next, on a GPU
        # too, where Ray would end it otherwise.
        embedded = chunks.map_batches(
            _embed,
            fn_kwargs={"model": model},
            batch_size=1,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(),
            **({"num_gpus": 1, "max_calls": 0} if gpus else {"num_cpus": 1}),
        )
        tables = iter(embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    try:
        for table in tables:
            for chunk in _unpacked(table):
                if isinstance(chunk, RecommenderError):
                    raise chunk
                yield from chunk
    except RecommenderError:
        raise
    except Exception as error:  # of Ray Data, whose errors have none in common
        raise RecommenderError(
            f"The Ray cluster failed ({_line(error)}). What was committed before is kept; run the same command again "
            f"to go on from there."
        ) from error
    finally:
        tables.close()


def _parts(sources: Sequence[Source | Iterable[Entry]]) -> Iterator[_Part]:
    """Give what tasks are to read, in its order."""
    folder = str(Path.cwd())
    for feed, source in enumerate(sources):
        if isinstance(source, Source) and source.portable:
            before = 0
            for part in source.parts(PART):
                yield _Part(feed, before, folder, part)
                before += part.total_bytes
        else:
            entries = iter(source)
            while some := list(islice(entries, MOST)):
                yield _Part(feed, 0, folder, some)


def _read(table: Any, *, stored: Any, size: int) -> Iterator[Any]:
    """Read parts of the sources; give chunks. Runs on the cluster, as all that follows does."""
    import ray  # noqa: PLC0415

    known: NDArray[np.uint64] = ray.get(stored)
    for part in _unpacked(table):
        yield from map(_row, _chunks(part, known, size))


def _chunks(part: _Part, known: NDArray[np.uint64], size: int) -> Iterator[_Chunk]:
    there = Path(part.folder).is_dir()
    with contextlib.chdir(part.folder) if there else contextlib.nullcontext():
        path = part.content.path if isinstance(part.content, Source) else None
        if path and (unseen := _unseen(part.folder, [str(path)])):
            yield RecommenderError(f"The machine {socket.gethostname()} of the Ray cluster cannot read: {unseen}.")
            return
        chunk: list[SourceItem] = []
        new = long = 0
        try:
            for entry in part.content:
                done = part.before + part.content.bytes_read if isinstance(part.content, Source) else 0
                made = SourceItem(
                    part.feed, done, entry, entry.article is not None and not _is_stored(entry.article, known)
                )
                chunk.append(made)
                new += made.is_new
                long += len(entry.article.text) if entry.article else 0
                if new == size or len(chunk) == MOST or long > LONG:
                    yield chunk
                    chunk, new, long = [], 0, 0
        except RecommenderError as error:
            yield error
            return
        if chunk:
            yield chunk


def _is_stored(article: Article, known: NDArray[np.uint64]) -> bool:
    (digest,) = _digests([(article.id, article.content_hash)])
    place = int(np.searchsorted(known, digest))
    return place < len(known) and bool(known[place] == digest)


def _embed(table: Any, *, model: Any) -> Iterator[Any]:
    """Embed chunks."""
    import ray  # noqa: PLC0415

    encoder = _loaded(ray.get(model))
    for chunk in _unpacked(table):
        yield _row(_embedded(chunk, encoder))


_encoders: dict[str, DenseEncoder] = {}  # of this process, by hash: Ray gives it one task after the other


def _loaded(model: _Model) -> DenseEncoder | RecommenderError:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core is what was asked for
    try:
        if model.hash not in _encoders:
            _encoders[model.hash] = model.encoder(threads=1)
    except RecommenderError as error:
        return error
    return _encoders[model.hash]


def _embedded(chunk: _Chunk, encoder: DenseEncoder | RecommenderError) -> _Chunk:
    if isinstance(chunk, RecommenderError):
        return chunk
    if isinstance(encoder, RecommenderError):
        return encoder
    articles = [made.entry.article for made in chunk if made.is_new and made.entry.article]
    if not articles:
        return chunk
    try:
        vectors = iter(encoder.encode_articles(articles))
    except RecommenderError as error:
        return error
    found = iter([analyze_if_language_known(article) for article in articles])
    return [replace(made, vector=next(vectors), analysis=next(found)) if made.is_new else made for made in chunk]


def _row(content: object) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.table({"content": pa.array([pickle.dumps(content, protocol=5)], pa.large_binary())})


def _unpacked(table: Any) -> Iterator[Any]:
    for row in table["content"]:
        yield pickle.loads(row.as_buffer())  # noqa: S301 - of this program's own processes
