"""A sentence-transformers model converted for OpenVINO, which runs it faster on CPUs and starts without PyTorch.

A model is converted once, from the module itself, and kept in the user's cache. What was converted is compared with
the module before it is used. It computes in bf16 where the processor does, in float32 elsewhere, and mostly in
integers if it was quantised.
"""

import contextlib
import ctypes
import io
import os
import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommender.embedding.int8 import quantise
from recommender.embedding.model_cache import cached_model
from recommender.embedding.pytorch import TorchModel
from recommender.embedding.wordpiece import WordPieces, read_by_words
from recommender.system.files import cache_folder
from recommender.system.load_once import load_lock

__all__ = ["CannotComputeError", "NotConvertedError", "OpenVinoModel", "openvino_model"]

VERSION = 2  # of what is written to the cache
AGREEMENT = 0.999  # cosine to the module's own vectors that a conversion must have
AGREEMENT_BF16 = 0.99  # the same, for texts with words in them, in bf16; else the model is computed in float32
AGREEMENT_INT8 = 0.97  # the same in 8-bit integers, whose vectors are a model of their own
TOKENS = 2048  # of all texts that are computed at once; fewer leave cores waiting, more fall out of their caches
MOST = 256  # texts computed at once
PIECE = 64  # texts tokenised while others are computed
QUEUED = 2  # times as many batches as are computed at once; no core waits for one that is being taken
DEGENERATE = ("", " A")
TEXTS = (  # of all lengths
    "council plan",
    "The council approved the plan on Tuesday.",
    "Cocoa prices rose for a third week as rain delayed the harvest, traders said.",
    "Heavy rain closed the coast road; crews hope to reopen it by noon. " * 3,
    "To undo the last commit but keep its changes, run git reset --soft HEAD~1 and commit again.",
    "Returns an iterator to the first element of the container; if it is empty, end() is returned. " * 40,
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
BF16, F32 = "bf16", "f32"  # as OpenVINO names what it computes in
MAX_LOADED = 2  # models that stay loaded when nothing refers to them any more: several indexes share one


class NotConvertedError(Exception):
    """The model cannot be run converted; the message says why."""


class CannotComputeError(NotConvertedError):
    """OpenVINO cannot compute the model on this processor; on another it may."""


class Tokens:
    """Turns texts into what a converted model reads.

    Args:
        folder: where its tokenizer is.
        settings: as `settings.json` has them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - not every command embeds

        self._names, self._pad, most = list(settings["inputs"]), int(settings["pad"]), int(settings["max_tokens"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._words = None
        if most > self._tokenizer.num_special_tokens_to_add(False) and read_by_words(self._tokenizer):
            self._words = WordPieces(self._tokenizer, most, special=True)
        else:
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(most)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, NDArray[np.int64]]]]:
        """Yield which texts are to be computed at once, and the tensors for them; the longest first."""
        rows = self._rows(texts)
        order = sorted(range(len(texts)), key=lambda place: -len(rows[place]["input_ids"]))
        while order:
            most = max(min(TOKENS // max(len(rows[order[0]]["input_ids"]), 1), MOST), 1)
            places, order = order[:most], order[most:]
            yield places, self._tensors([rows[place] for place in places])

    def _rows(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return for each text what a model may read of it."""
        if self._words:
            return [{"input_ids": ids, "attention_mask": 1, "token_type_ids": 0} for ids in self._words.ids(texts)]
        return [
            {"input_ids": part.ids, "attention_mask": part.attention_mask, "token_type_ids": part.type_ids}
            for part in self._tokenizer.encode_batch_fast(list(texts))
        ]

    def _tensors(self, rows: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.int64]]:
        width = len(rows[0]["input_ids"])  # the longest
        parts = {name: np.zeros((len(rows), width), dtype=np.int64) for name in self._names}
        parts["input_ids"].fill(self._pad)
        for place, row in enumerate(rows):
            for name, part in parts.items():
                part[place, : len(row["input_ids"])] = row[name]
        return parts


class OpenVinoModel:
    """Embeds texts with OpenVINO. Threads may share one; it works in a forked child too, on one core.

    Args:
        folder: where the converted model is.
        settings: its settings.
        threads: how many cores it computes on; None for all.

    Attributes:
        dimensions: numbers in a vector.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int | None = None) -> None:
        self._folder, self._threads = folder, threads
        self.dimensions, self._prompts = int(settings["dimensions"]), settings["prompts"]
        self._precisions = list(settings.get("precisions", ())) or ([BF16, F32] if _computes_bf16() else [F32])
        self._tokens = Tokens(folder, settings)
        self._core: Any = None
        self._compiled: dict[str, Any] = {}
        _Process.models.add(self)

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `Reference.encode`.

        Raises:
            CannotComputeError: OpenVINO cannot compute the model on this processor.
        """
        prompt = self._prompts["query" if query else "document"]
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        # One text is answered soonest by all cores together, many by each core on its own.
        compiled = self._compile("LATENCY" if len(texts) == 1 or _Process.forked else "THROUGHPUT")
        most = QUEUED * int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        idle: list[Any] = []
        running: deque[tuple[Any, list[int]]] = deque()
        done = 0

        def take() -> None:
            nonlocal done
            request, places = running.popleft()
            request.wait()
            vectors[places] = request.get_output_tensor(0).data
            idle.append(request)
            done += len(places)

        # By length, since all that is computed at once is padded to the longest.
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        for start in range(0, len(order), PIECE):
            piece = order[start : start + PIECE]
            for places, tensors in self._tokens.batches([prompt + texts[place] for place in piece]):
                if len(running) == most:
                    take()
                request = idle.pop() if idle else compiled.create_infer_request()
                if _Process.forked:
                    request.infer(tensors)  # the threads that would compute it beside this one are the parent's
                else:
                    request.start_async(tensors, share_inputs=False)
                running.append((request, [piece[place] for place in places]))
                on_done(done)
        while running:
            take()
        on_done(len(texts))
        return vectors

    def _compile(self, hint: str) -> Any:
        """Return the model compiled for a performance hint; once for all threads."""
        if hint not in self._compiled:
            with load_lock():
                if hint not in self._compiled:
                    self._compiled[hint] = self._compile_anew(hint)
        return self._compiled[hint]

    def _compile_anew(self, hint: str) -> Any:
        """Compile the model in the first precision that this processor can compute it in.

        What OpenVINO lists is no promise: a virtual machine, or ONEDNN_MAX_CPU_ISA, can mask instructions.
        """
        _Process.started = True
        self._core = self._core or _openvino().Core()
        options = {"PERFORMANCE_HINT": hint}
        if self._threads:
            # Else every process that is to use one core would have itself bound to the first one.
            options |= {"INFERENCE_NUM_THREADS": str(self._threads), "ENABLE_CPU_PINNING": "NO"}
        _, sample = next(self._tokens.batches(["a text"]))
        while True:
            precision = {"INFERENCE_PRECISION_HINT": self._precisions[0]}
            try:
                compiled = self._core.compile_model(str(self._folder / "model.xml"), "CPU", options | precision)
                compiled.create_infer_request().infer(sample)
            except RuntimeError as error:
                if len(self._precisions) == 1:
                    raise CannotComputeError(
                        f"OpenVINO cannot compute it on this processor ({_reason(error)})"
                    ) from error
                del self._precisions[0]
            else:
                return compiled

    def _forget_compiled(self) -> None:
        """Let go of what was compiled, in a forked child, without destroying it.

        Its threads were left behind in the parent, and destroying it, at the latest as Python ends, would wait for
        them for ever. Compiling anew works.
        """
        for abandoned in (self._core, *self._compiled.values()):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(abandoned))
        self._core, self._compiled = None, {}


class _Process:
    """What this process has of OpenVINO."""

    models: ClassVar["weakref.WeakSet[OpenVinoModel]"] = weakref.WeakSet()
    started = False  # threads of OpenVINO run in it, or did in the process that it was forked from
    forked = False  # it was forked from a process in which they run


def _after_fork() -> None:
    """Have models compiled anew in a forked child, and computed by the threads that ask: OpenVINO starts no others."""
    if _Process.started:
        _Process.forked = True
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it is turned off with a warning
        for model in _Process.models:
            model._forget_compiled()


os.register_at_fork(after_in_child=_after_fork)

_recent: dict[tuple[Path, int | None], OpenVinoModel] = {}  # those that were asked for last at the end


def openvino_model(
    reference: TorchModel, hash: str, threads: int | None = None, *, int8: bool = False
) -> OpenVinoModel:
    """Return a model converted, from the cache or made now.

    Args:
        reference: the model; loaded only if it has to be converted.
        hash: over the model's files and the encoding settings, `int8` among them.
        threads: see `OpenVinoModel`.
        int8: whether it is to be quantised.

    Raises:
        NotConvertedError: it cannot be converted.
    """
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    name = f"{hash}-{VERSION}-{version('openvino')}"
    with load_lock():
        key = cache_folder() / name, threads
        model = _recent.pop(key, None)
        if model is None:
            task = f"{'Quantising' if int8 else 'Converting'} the model {reference.name} for OpenVINO"
            folder, settings = cached_model(name, partial(_make, reference, int8), task)
            if "refused" in settings:
                raise NotConvertedError(settings["refused"])
            model = OpenVinoModel(folder, settings, threads)
        _recent[key] = model
        while len(_recent) > MAX_LOADED:
            del _recent[next(iter(_recent))]
    return model


def _make(reference: TorchModel, int8: bool, folder: Path) -> dict[str, Any]:
    """Convert a model into a folder; return its settings, or why it was refused."""
    reference.model  # noqa: B018 - a folder without a model is told as such
    try:
        with _quietly():
            return _convert(reference, folder, int8=int8)
    except (CannotComputeError, OSError):  # of this processor, and of the cache
        raise
    except NotConvertedError as error:
        settings = {"refused": str(error)}
    # Whatever tracing, OpenVINO and the tokenizer raise, which have no error in common. That a model
    # cannot be converted costs speed only: PyTorch runs it then, and the reason is kept and told. Not
    # so of one in integers, which may go better another time.
    except Exception as error:
        settings = {"refused": f"it cannot be converted ({_reason(error)})"}
        if int8:
            raise NotConvertedError(settings["refused"]) from error
    for path in folder.iterdir():
        path.unlink()
    return settings


def _convert(reference: TorchModel, folder: Path, *, int8: bool) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - takes seconds

    ov = _openvino()
    model: Any = reference.model
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise NotConvertedError("its tokenizer has no fast version")
    features: dict[str, Any] = model.preprocess(["a text", "another text, which is longer"])
    names = [name for name, value in features.items() if isinstance(value, torch.Tensor)]
    if set(names) - set(INPUTS):
        raise NotConvertedError(f"it reads {', '.join(sorted(set(names) - set(INPUTS)))} beside tokens")

    class Module(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        """From tokens to the normalised vector."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            vectors = self.model(dict(zip(names, tensors, strict=True)))["sentence_embedding"]
            return torch.nn.functional.normalize(vectors, dim=1)

    from openvino.tools.ovc import convert_model  # noqa: PLC0415 - only here

    device = model.device
    model.to("cpu")
    try:
        with torch.no_grad():
            made = convert_model(Module().eval(), example_input=tuple(features[name].cpu() for name in names))
    finally:
        model.to(device)
    for part, name in zip(made.inputs, names, strict=True):
        part.get_tensor().set_names({name})
    settings: dict[str, Any] = {
        "dimensions": int(made.outputs[0].get_partial_shape()[1].get_length()),
        "inputs": names,
        "prompts": _prompts(model),
        "pad": int(model.tokenizer.pad_token_id or 0),
        "max_tokens": int(model.max_seq_length),
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    if int8:
        tokens = Tokens(folder, settings)
        if not quantise(
            made, tokenizer, settings["max_tokens"], lambda text: (tensors for _, tensors in tokens.batches([text]))
        ):
            raise NotConvertedError("it has no linear layers that are known as such")
    ov.save_model(made, str(folder / "model.xml"), compress_to_fp16=False)

    def agreement(precision: str, texts: Sequence[str]) -> float:
        """Return the least cosine between the vectors of the conversion and of the module; NaN if one has none."""
        conversion = OpenVinoModel(folder, settings | {"precisions": [precision]})
        return float(
            min(
                (conversion.encode(texts, query=query) * reference.encode(texts, query=query)).sum(axis=1).min()
                for query in (False, True)
            )
        )

    cosine = agreement(F32, TEXTS if int8 else (*DEGENERATE, *TEXTS))
    if not cosine >= (AGREEMENT_INT8 if int8 else AGREEMENT):  # it may be no number
        raise NotConvertedError(f"converted, its vectors are others (cosine {cosine:.3f})")
    # What is not in integers is little, and converting it to bf16 and back takes longer than computing it.
    if int8 or (_computes_bf16() and not _agrees_in_bf16(agreement)):
        settings["precisions"] = [F32]
    return settings


def _agrees_in_bf16(agreement: Callable[[str, Sequence[str]], float]) -> bool:
    try:
        return agreement(BF16, TEXTS) >= AGREEMENT_BF16
    except CannotComputeError:  # this processor; another may
        return True


def _prompts(model: Any) -> dict[str, str]:
    """Return what sentence-transformers puts before queries and documents."""
    usual = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    found = {}
    for kind, names in (("query", ["query"]), ("document", ["document", "passage", "corpus"])):
        own = [model.prompts[name] for name in names if name in model.prompts]
        found[kind] = (own[0] if own else usual) or ""
    return found


def _reason(error: Exception) -> str:
    """Return what an error says in one line; OpenVINO's begin with where they come from."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception from ")]
    return said[0] if said else type(error).__name__


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the converters print and warn of from the user."""
    unseen = io.StringIO()
    with (
        contextlib.redirect_stdout(unseen),
        contextlib.redirect_stderr(unseen),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        with _without_telemetry():
            yield


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import OpenVINO without its telemetry: it does without a module that is not there."""
    name = "openvino_telemetry"
    if name in sys.modules:  # imported by another, or kept from being so already
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def _openvino() -> Any:
    with _without_telemetry():
        import openvino  # noqa: PLC0415 - not every command embeds

        return openvino


@cache
def _computes_bf16() -> bool:
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
