"""Reading and embedding on a Ray cluster, as a pipeline of Ray Data.

Tasks read parts of the sources into chunks of items; others embed the chunks, in processes that load the model once.
The items return in the order of the sources. Ray schedules the tasks, limits how far they run ahead, and repeats lost
ones.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import re
import socket
import subprocess
import sysconfig
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
CHUNK_ARTICLES, GPU_CHUNK_ARTICLES = 64, 512  # to embed in a chunk; a core takes three seconds or less
MAX_CHUNK_ENTRIES = 1024  # when most are stored already
MAX_CHUNK_CHARS = 2**21  # of the texts
PART_BYTES = 2**22  # of the files of a folder that a task reads
CONNECT_SECONDS = 10.0
STATUS_SECONDS = 60.0  # for `ray status`, which gives up after 40
PAGE_ARTICLES = 1024

_ADDRESS = re.compile(r"(\[[^\]]+\]|[^:/\s]+):(\d+)")


@dataclass(frozen=True, slots=True)
class _Part:
    """The input of a reading task: a source or a part of it, or entries that the calling process read."""

    source_number: int
    offset: int  # of the part in its source, in bytes
    folder: str  # the base of relative paths
    content: Source | list[Entry]


@dataclass(frozen=True, slots=True)
class _Model:
    """The arguments for an equal encoder on another machine."""

    name: str
    max_tokens: int
    files: Mapping[str, bytes] | None
    hash: str

    def encoder(self, threads: int) -> DenseEncoder:
        encoder = DenseEncoder(self.name, self.max_tokens, self.files, threads)
        if encoder.hash != self.hash:
            raise RecommenderError(
                f"the model {self.name} differs there (hash {encoder.hash[:12]}, and {self.hash[:12]} here). "
                f"Put the same files on every machine, or name a folder that all of them share"
            )
        return encoder


# Tasks return errors: Ray would wrap those that they raise.
_Chunk = list[SourceItem] | RecommenderError


def check_address(address: str) -> None:
    """Check the form of a cluster's address.

    Raises:
        ValueError: it is not "auto", "local" or HOST:PORT.
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
    """Read and embed sources on a cluster; yield an iterator over the items in their order.

    Articles whose content is stored have no vector.

    Args:
        address: see `check_address`.
        sources: the sources. Standard input and iterables of entries are read by this process first.
        store: the index, which contains the articles that are stored.
        encoder: the encoder; the cluster creates equal ones.

    Raises:
        RecommenderError: there is no such cluster, a machine of it lacks something, or it fails.
    """
    ray = _import_ray()
    model = _Model(encoder.name, encoder.max_tokens, encoder.files or None, encoder.hash)
    with _connect(ray, address):
        paths = [str(source.path) for source in sources if isinstance(source, Source) and source.path]
        model_ref = ray.put(model)
        _check_nodes(ray, paths, model_ref)
        items = _run(ray, sources, model_ref, cpu_only=encoder.cpu_only, stored=_stored_digests(store))
        with contextlib.closing(items):  # before disconnecting: a later call would start Ray again
            yield items


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends no statistics
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are reported by this module
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
def _connect(ray: Any, address: str) -> Iterator[None]:
    """Join a cluster, or start one on this machine; a joined cluster continues after the disconnection."""
    check_address(address)
    if address == AUTO and ray.is_initialized():  # by the calling program
        yield
        return
    address = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        options["include_dashboard"] = False
    try:
        with _silence_logs(), silence_stderr():
            if _ADDRESS.fullmatch(address):
                _check_status(address)
            ray.init(address, **options)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError, OverflowError) as error:
        raise RecommenderError(
            f"No Ray cluster can be joined at {address!r} ({_summary(error)}). Start one with `ray start --head`, name "
            f"its address, or take this machine alone with 'local'."
        ) from error
    with _silence_logs():
        try:
            yield
        finally:
            ray.shutdown()  # ends all tasks of this process


def _check_status(address: str) -> None:
    """Raise OSError if no Ray cluster answers at HOST:PORT.

    `ray.init` would try for four minutes and then exit the process.
    """
    host, port = _ADDRESS.fullmatch(address).groups()  # type: ignore[union-attr]
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    command = [str(Path(sysconfig.get_path("scripts"), "ray")), "status", "--address", address]
    try:
        status = subprocess.run(  # noqa: S603 - the address has the form of _ADDRESS
            command, capture_output=True, text=True, errors="replace", timeout=STATUS_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"it does not answer within {STATUS_SECONDS:.0f} seconds") from None
    if status.returncode:
        raise OSError((status.stderr.strip().splitlines() or ["it does not answer as a Ray cluster"])[-1])


@contextlib.contextmanager
def _silence_logs() -> Iterator[None]:
    """Keep Ray's log messages from standard error; its log files and the handlers of the root logger stay."""
    handlers = {
        handler: handler.level
        for name in ("ray", "ray.data")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler) and handler not in logging.root.handlers
    }
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Redirect standard error of the process to null: Ray's C++ part writes to it while a progress bar is shown."""
    original = os.dup(2)
    try:
        with Path(os.devnull).open("w") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def _summary(error: BaseException) -> str:
    """Return class and first line of the root cause of an error."""
    while cause := getattr(error, "cause", None) or error.__cause__:
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": .")


def _check_nodes(ray: Any, paths: Sequence[str], model: Any) -> None:
    """Raise RecommenderError if a machine lacks something; run `missing_on_node` on each.

    This also converts the model there once, rather than in each process.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    task = ray.remote(num_cpus=0, max_retries=1)(missing_on_node)
    names_by_result = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            result = task.options(scheduling_strategy=on_node).remote(str(Path.cwd()), list(paths), model, _release())
            names_by_result[result] = node["NodeManagerHostname"]
    for result, name in names_by_result.items():
        try:
            missing = ray.get(result)
        except ray.exceptions.RayTaskError as error:  # the package is missing, or another version
            missing = f"{_summary(error)}. The same recommender, with the extra 'ray', must be installed there"
        except ray.exceptions.RayError:  # the machine left the cluster
            continue
        if missing:
            raise RecommenderError(f"The machine {name} of the Ray cluster cannot take part: {missing}.")


def _release() -> tuple[str, dict[str, Any]]:
    """Return the version and the settings on which terms depend."""
    from importlib.metadata import version  # noqa: PLC0415 - takes 10 ms

    return version("recommender"), TERM_SETTINGS


def missing_on_node(folder: str, paths: Sequence[str], model: _Model, release: tuple[str, dict[str, Any]]) -> str:
    """Return a description of the first thing that this machine lacks for reading and embedding; empty for nothing."""
    if release != _release():
        return f"it has another recommender ({_release()[0]}, and {release[0]} here). Install the same on all machines"
    if unreachable := _unreachable_path(folder, paths):
        return unreachable
    try:
        model.encoder(1).encode_query("")
    except RecommenderError as error:
        return str(error).rstrip(".")
    return ""


def _unreachable_path(folder: str, paths: Iterable[str]) -> str:
    """Return a description of the first path that does not exist on this machine; empty for none."""
    for path in paths:
        if not Path(folder, path).exists():
            return (
                f"it does not see {Path(folder, path)}. Sources must be on storage that all machines of the cluster "
                f"share, at the same path"
            )
    return ""


def _stored_digests(store: Store) -> NDArray[np.uint64]:
    """Return digests of id and content of the stored articles, ascending: uint64, shape (articles,).

    They are sent to the machines, which then need no access to the index. After a collision the calling process embeds
    the article.
    """
    digests: list[NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
    ids = store.ids() if store.exists() else iter(())
    while page := list(islice(ids, PAGE_ARTICLES)):
        hashes = store.content_hashes(page)
        digests.append(np.array([_digest(id, stored.content_hash) for id, stored in hashes.items()], dtype=np.uint64))
    return np.sort(np.concatenate(digests))


def _digest(id: str, content_hash: bytes) -> int:
    digest = hashlib.blake2b(id.encode(errors="replace") + content_hash, digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _run(
    ray: Any, sources: Sequence[Source | Iterable[Entry]], model: Any, *, cpu_only: bool, stored: NDArray[np.uint64]
) -> Generator[SourceItem, None, None]:
    """Run the pipeline and yield its items."""
    from ray.data import DataContext, TaskPoolStrategy  # noqa: PLC0415

    on_gpu = not cpu_only and ray.cluster_resources().get("GPU", 0) >= 1
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # one block per row; a row is a chunk
    with DataContext.current(context):
        parts = [ray.put(_to_table(part)) for part in _parts(sources)]
        if not parts:
            return
        readers = min(max(len(ray.nodes()), 2), len(parts))
        reading = {"stored": ray.put(stored), "chunk_articles": GPU_CHUNK_ARTICLES if on_gpu else CHUNK_ARTICLES}
        # Reading takes so little of a core that it claims none.
        chunks = ray.data.from_arrow_refs(parts).map_batches(
            _read,
            fn_kwargs=reading,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,
            compute=TaskPoolStrategy(size=readers),
        )
        # Tasks, not actors: the actor of a lost machine waits for an idle core, and the whole pipeline waits for it.
        # max_calls=0 keeps the processes, and with them their models, on a GPU too.
        embedded = chunks.map_batches(
            _embed,
            fn_kwargs={"model": model},
            batch_size=1,
            batch_format="pyarrow",
            compute=TaskPoolStrategy(),
            **({"num_gpus": 1, "max_calls": 0} if on_gpu else {"num_cpus": 1}),
        )
        tables = iter(embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    try:
        for table in tables:
            for chunk in _from_table(table):
                if isinstance(chunk, RecommenderError):
                    raise chunk
                yield from chunk
    except RecommenderError:
        raise
    except Exception as error:  # errors of Ray Data share no class
        raise RecommenderError(
            f"The Ray cluster failed ({_summary(error)}). Committed articles are kept; run the same command again to "
            f"continue."
        ) from error
    finally:
        tables.close()


def _parts(sources: Sequence[Source | Iterable[Entry]]) -> Iterator[_Part]:
    """Yield the inputs of the reading tasks, in order."""
    folder = str(Path.cwd())
    for number, source in enumerate(sources):
        if isinstance(source, Source) and source.portable:
            offset = 0
            for part in source.parts(PART_BYTES):
                yield _Part(number, offset, folder, part)
                offset += part.total_bytes
        else:
            entries = iter(source)
            while batch := list(islice(entries, MAX_CHUNK_ENTRIES)):
                yield _Part(number, 0, folder, batch)


# The functions below run on the cluster.


def _read(table: Any, *, stored: Any, chunk_articles: int) -> Iterator[Any]:
    """Read parts of the sources; yield chunks, each in a table."""
    import ray  # noqa: PLC0415

    digests: NDArray[np.uint64] = ray.get(stored)
    for part in _from_table(table):
        yield from map(_to_table, _chunks(part, digests, chunk_articles))


def _chunks(part: _Part, stored: NDArray[np.uint64], chunk_articles: int) -> Iterator[_Chunk]:
    """Read a part and yield its chunks; an error is the last one."""
    with contextlib.chdir(part.folder) if Path(part.folder).is_dir() else contextlib.nullcontext():
        path = part.content.path if isinstance(part.content, Source) else None
        if path and (unreachable := _unreachable_path(part.folder, [str(path)])):
            yield RecommenderError(f"The machine {socket.gethostname()} of the Ray cluster cannot read: {unreachable}.")
            return
        chunk: list[SourceItem] = []
        new_articles = chars = 0
        try:
            for entry in part.content:
                bytes_read = part.offset + part.content.bytes_read if isinstance(part.content, Source) else 0
                is_new = entry.article is not None and not _is_stored(entry.article, stored)
                chunk.append(SourceItem(part.source_number, bytes_read, entry, is_new))
                new_articles += is_new
                chars += len(entry.article.text) if entry.article else 0
                if new_articles == chunk_articles or len(chunk) == MAX_CHUNK_ENTRIES or chars > MAX_CHUNK_CHARS:
                    yield chunk
                    chunk, new_articles, chars = [], 0, 0
        except RecommenderError as error:
            yield error
            return
        if chunk:
            yield chunk


def _is_stored(article: Article, stored: NDArray[np.uint64]) -> bool:
    digest = np.uint64(_digest(article.id, article.content_hash))
    position = int(np.searchsorted(stored, digest))
    return position < len(stored) and bool(stored[position] == digest)


def _embed(table: Any, *, model: Any) -> Iterator[Any]:
    """Embed and analyze the new articles of chunks; yield the chunks, each in a table."""
    import ray  # noqa: PLC0415

    encoder = _load_encoder(ray.get(model))
    for chunk in _from_table(table):
        yield _to_table(_embed_chunk(chunk, encoder))


_encoders: dict[str, DenseEncoder] = {}  # of this process, which runs many tasks, by hash


def _load_encoder(model: _Model) -> DenseEncoder | RecommenderError:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the task has one core
    try:
        if model.hash not in _encoders:
            _encoders[model.hash] = model.encoder(threads=1)
    except RecommenderError as error:
        return error
    return _encoders[model.hash]


def _embed_chunk(chunk: _Chunk, encoder: DenseEncoder | RecommenderError) -> _Chunk:
    if isinstance(chunk, RecommenderError):
        return chunk
    if isinstance(encoder, RecommenderError):
        return encoder
    articles = [item.entry.article for item in chunk if item.is_new and item.entry.article]
    if not articles:
        return chunk
    try:
        vectors = iter(encoder.encode_articles(articles))
    except RecommenderError as error:
        return error
    analyses = iter([analyze_if_language_known(article) for article in articles])
    return [replace(item, vector=next(vectors), analysis=next(analyses)) if item.is_new else item for item in chunk]


def _to_table(content: object) -> Any:
    """Return an Arrow table with one row that contains a pickled object."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.table({"content": pa.array([pickle.dumps(content, protocol=5)], pa.large_binary())})


def _from_table(table: Any) -> Iterator[Any]:
    """Yield the objects of a table."""
    for row in table["content"]:
        yield pickle.loads(row.as_buffer())  # noqa: S301 - written by this program
