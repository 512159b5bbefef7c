"""Sentence-transformers models converted for OpenVINO, which is faster on CPUs and starts without PyTorch.

A model is converted once and cached. The vectors of the conversion are compared with PyTorch's before it is used. It
computes in bf16 where the processor supports that, otherwise in float32; a quantised model mostly in 8-bit integers.
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
from recommender.embedding.wordpiece import WordPieceTokenizer, tokenizes_by_word
from recommender.system.files import cache_folder
from recommender.system.load_once import load_lock

__all__ = ["CannotComputeError", "NotConvertedError", "OpenVinoModel", "openvino_model"]

VERSION = 2  # of the files in the cache
MIN_COSINE = 0.999  # between the vectors of a conversion and of PyTorch
MIN_COSINE_BF16 = 0.99  # the same in bf16, over TEXTS; below it the model computes in float32
MIN_COSINE_INT8 = 0.97  # the same for a quantised model, over TEXTS
MAX_BATCH_TOKENS = 2048  # fewer leave cores idle, more exceed their caches
MAX_BATCH_TEXTS = 256
TOKENIZED_TEXTS = 64  # tokenised at once, while others are computed
QUEUE_FACTOR = 2  # queued batches per batch that is computed, so that no core waits
DEGENERATE_TEXTS = ("", " A")
TEXTS = (  # of all lengths
    "council plan",
    "The council approved the plan on Tuesday.",
    "Cocoa prices rose for a third week as rain delayed the harvest, traders said.",
    "Heavy rain closed the coast road; crews hope to reopen it by noon. " * 3,
    "To undo the last commit but keep its changes, run git reset --soft HEAD~1 and commit again.",
    "Returns an iterator to the first element of the container; if it is empty, end() is returned. " * 40,
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
BF16, F32 = "bf16", "f32"  # OpenVINO's names of precisions
MAX_CACHED_MODELS = 2  # that stay loaded, so that the indexes of a process share them


class NotConvertedError(Exception):
    """The model cannot be run by OpenVINO; the message is the reason."""


class CannotComputeError(NotConvertedError):
    """OpenVINO cannot compute the model on this processor; another processor may."""


class BatchTokenizer:
    """Tokenises texts into batches of input tensors.

    Args:
        folder: the folder of the converted model.
        settings: the settings of the converted model.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - not every command embeds

        self._input_names, self._pad_id = list(settings["inputs"]), int(settings["pad"])
        max_tokens = int(settings["max_tokens"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._by_word = None
        if max_tokens > self._tokenizer.num_special_tokens_to_add(False) and tokenizes_by_word(self._tokenizer):
            self._by_word = WordPieceTokenizer(self._tokenizer, max_tokens, special=True)
        else:
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_tokens)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, NDArray[np.int64]]]]:
        """Yield for each batch the positions of its texts and the input tensors; the longest texts first."""
        inputs = self._inputs(texts)
        order = sorted(range(len(texts)), key=lambda position: -len(inputs[position]["input_ids"]))
        while order:
            longest = len(inputs[order[0]]["input_ids"])
            size = max(min(MAX_BATCH_TOKENS // max(longest, 1), MAX_BATCH_TEXTS), 1)
            positions, order = order[:size], order[size:]
            yield positions, self._tensors([inputs[position] for position in positions])

    def _inputs(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return the values of each possible input for each text."""
        if self._by_word:
            token_ids = self._by_word.token_ids(texts)
            return [{"input_ids": ids, "attention_mask": 1, "token_type_ids": 0} for ids in token_ids]
        return [
            {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
            for encoding in self._tokenizer.encode_batch_fast(list(texts))
        ]

    def _tensors(self, inputs: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.int64]]:
        """Return padded tensors, int64, shape (len(inputs), tokens); the first text is the longest."""
        width = len(inputs[0]["input_ids"])
        tensors = {name: np.zeros((len(inputs), width), dtype=np.int64) for name in self._input_names}
        tensors["input_ids"].fill(self._pad_id)
        for row, values in enumerate(inputs):
            for name, tensor in tensors.items():
                tensor[row, : len(values["input_ids"])] = values[name]
        return tensors


class OpenVinoModel:
    """Encodes texts with OpenVINO. Thread-safe; in a forked child it computes on one core.

    Args:
        folder: the folder of the converted model.
        settings: the settings of the converted model.
        threads: the number of cores that it computes on; None for all.

    Attributes:
        dimensions: the length of a vector.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int | None = None) -> None:
        self._folder, self._threads = folder, threads
        self.dimensions, self._prompts = int(settings["dimensions"]), settings["prompts"]
        self._precisions = list(settings.get("precisions", ())) or ([BF16, F32] if _computes_bf16() else [F32])
        self._tokenizer = BatchTokenizer(folder, settings)
        self._core: Any = None
        self._compiled: dict[str, Any] = {}
        _Process.models.add(self)

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `TorchModel.encode`.

        Raises:
            CannotComputeError: OpenVINO cannot compute the model on this processor.
        """
        prompt = self._prompts["query" if query else "document"]
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        # All cores together are fastest for one text, each core on its own for many.
        compiled = self._compile("LATENCY" if len(texts) == 1 or _Process.forked else "THROUGHPUT")
        max_running = QUEUE_FACTOR * int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        idle: list[Any] = []
        running: deque[tuple[Any, list[int]]] = deque()
        done = 0

        def collect() -> None:
            """Wait for the oldest batch and store its vectors."""
            nonlocal done
            request, rows = running.popleft()
            request.wait()
            vectors[rows] = request.get_output_tensor(0).data
            idle.append(request)
            done += len(rows)

        # Sorted by length, since the texts of a batch are padded to the longest.
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        for start in range(0, len(order), TOKENIZED_TEXTS):
            rows = order[start : start + TOKENIZED_TEXTS]
            for positions, tensors in self._tokenizer.batches([prompt + texts[row] for row in rows]):
                if len(running) == max_running:
                    collect()
                request = idle.pop() if idle else compiled.create_infer_request()
                if _Process.forked:
                    request.infer(tensors)  # OpenVINO's threads exist in the parent only
                else:
                    request.start_async(tensors, share_inputs=False)
                running.append((request, [rows[position] for position in positions]))
                on_done(done)
        while running:
            collect()
        on_done(len(texts))
        return vectors

    def _compile(self, hint: str) -> Any:
        """Return the model compiled for a performance hint; compiled once for all threads."""
        if hint not in self._compiled:
            with load_lock():
                if hint not in self._compiled:
                    self._compiled[hint] = self._compile_uncached(hint)
        return self._compiled[hint]

    def _compile_uncached(self, hint: str) -> Any:
        """Compile the model in the first precision that works on this processor.

        Each is tried, since a virtual machine or ONEDNN_MAX_CPU_ISA can mask instructions that OpenVINO lists.
        """
        _Process.started = True
        self._core = self._core or _openvino().Core()
        options = {"PERFORMANCE_HINT": hint}
        if self._threads:
            # With pinning, every process with one thread would be bound to the first core.
            options |= {"INFERENCE_NUM_THREADS": str(self._threads), "ENABLE_CPU_PINNING": "NO"}
        _, sample = next(self._tokenizer.batches(["a text"]))
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

    def _abandon_compiled(self) -> None:
        """Leak the compiled models in a forked child, so that they are compiled again.

        Destroying them, at the latest as Python ends, would wait for ever for threads that exist in the parent only.
        """
        for abandoned in (self._core, *self._compiled.values()):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(abandoned))
        self._core, self._compiled = None, {}


class _Process:
    """The state of OpenVINO in this process."""

    models: ClassVar["weakref.WeakSet[OpenVinoModel]"] = weakref.WeakSet()
    started = False  # whether OpenVINO's threads were started in it or in its parent
    forked = False  # whether it was forked after that


def _after_fork() -> None:
    """Have models compiled again in a forked child and computed in the calling thread."""
    if _Process.started:
        _Process.forked = True
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise tokenizers turns it off with a warning
        for model in _Process.models:
            model._abandon_compiled()


os.register_at_fork(after_in_child=_after_fork)

_recent: dict[tuple[Path, int | None], OpenVinoModel] = {}  # in order of use, the latest last


def openvino_model(
    torch_model: TorchModel, hash: str, threads: int | None = None, *, int8: bool = False
) -> OpenVinoModel:
    """Return a converted model, from the cache or converted now.

    Args:
        torch_model: the model to convert; loaded only if the cache does not contain the conversion.
        hash: a hash over the model's files and the encoding settings, `int8` included.
        threads: see `OpenVinoModel`.
        int8: whether to quantise it.

    Raises:
        NotConvertedError: it cannot be converted.
    """
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    name = f"{hash}-{VERSION}-{version('openvino')}"
    with load_lock():
        key = cache_folder() / name, threads
        model = _recent.pop(key, None)
        if model is None:
            task = f"{'Quantising' if int8 else 'Converting'} the model {torch_model.name} for OpenVINO"
            folder, settings = cached_model(name, partial(_convert_or_refuse, torch_model, int8), task)
            if "refused" in settings:
                raise NotConvertedError(settings["refused"])
            model = OpenVinoModel(folder, settings, threads)
        _recent[key] = model
        while len(_recent) > MAX_CACHED_MODELS:
            del _recent[next(iter(_recent))]
    return model


def _convert_or_refuse(torch_model: TorchModel, int8: bool, folder: Path) -> dict[str, Any]:
    """Convert a model into a folder; return its settings, or the reason of the refusal."""
    torch_model.model  # noqa: B018 - raises ModelError for a folder without a model
    try:
        with _silence_converters():
            return _convert(torch_model, folder, int8=int8)
    except (CannotComputeError, OSError):  # not faults of the model
        raise
    except NotConvertedError as error:
        settings = {"refused": str(error)}
    # Tracing, OpenVINO and tokenizers share no error class. The refusal is cached, since PyTorch runs the model then;
    # that of a quantised model is not.
    except Exception as error:
        settings = {"refused": f"it cannot be converted ({_reason(error)})"}
        if int8:
            raise NotConvertedError(settings["refused"]) from error
    for path in folder.iterdir():
        path.unlink()
    return settings


def _convert(torch_model: TorchModel, folder: Path, *, int8: bool) -> dict[str, Any]:
    """Convert a model into a folder; return its settings.

    Raises:
        NotConvertedError: it cannot be converted, or the vectors of the conversion differ.
    """
    import torch  # noqa: PLC0415 - takes seconds

    ov = _openvino()
    model: Any = torch_model.model
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise NotConvertedError("its tokenizer has no fast version")
    features: dict[str, Any] = model.preprocess(["a text", "another text, which is longer"])
    names = [name for name, value in features.items() if isinstance(value, torch.Tensor)]
    if set(names) - set(INPUTS):
        raise NotConvertedError(f"it reads {', '.join(sorted(set(names) - set(INPUTS)))} besides tokens")

    class Module(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        """The model from tokens to normalised vectors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            vectors = self.model(dict(zip(names, tensors, strict=True)))["sentence_embedding"]
            return torch.nn.functional.normalize(vectors, dim=1)

    from openvino.tools.ovc import convert_model  # noqa: PLC0415 - only conversions need it

    device = model.device
    model.to("cpu")
    try:
        with torch.no_grad():
            converted = convert_model(Module().eval(), example_input=tuple(features[name].cpu() for name in names))
    finally:
        model.to(device)
    for tensor_input, name in zip(converted.inputs, names, strict=True):
        tensor_input.get_tensor().set_names({name})
    settings: dict[str, Any] = {
        "dimensions": int(converted.outputs[0].get_partial_shape()[1].get_length()),
        "inputs": names,
        "prompts": _prompts(model),
        "pad": int(model.tokenizer.pad_token_id or 0),
        "max_tokens": int(model.max_seq_length),
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    if int8:
        batches = BatchTokenizer(folder, settings).batches
        layers = quantise(
            converted, tokenizer, settings["max_tokens"], lambda text: (tensors for _, tensors in batches([text]))
        )
        if not layers:
            raise NotConvertedError("it has no linear layers that can be quantised")
    ov.save_model(converted, str(folder / "model.xml"), compress_to_fp16=False)

    def min_cosine(precision: str, texts: Sequence[str]) -> float:
        """Return the least cosine between the vectors of the conversion and of PyTorch; NaN for vectors with NaN."""
        conversion = OpenVinoModel(folder, settings | {"precisions": [precision]})
        return float(
            min(
                (conversion.encode(texts, query=query) * torch_model.encode(texts, query=query)).sum(axis=1).min()
                for query in (False, True)
            )
        )

    cosine = min_cosine(F32, TEXTS if int8 else (*DEGENERATE_TEXTS, *TEXTS))
    if not cosine >= (MIN_COSINE_INT8 if int8 else MIN_COSINE):  # refuses NaN too
        raise NotConvertedError(f"the vectors of the conversion differ (cosine {cosine:.3f})")
    # In a quantised model, converting the few other layers to bf16 and back takes longer than it saves.
    if int8 or (_computes_bf16() and not _is_exact_in_bf16(min_cosine)):
        settings["precisions"] = [F32]
    return settings


def _is_exact_in_bf16(min_cosine: Callable[[str, Sequence[str]], float]) -> bool:
    try:
        return min_cosine(BF16, TEXTS) >= MIN_COSINE_BF16
    except CannotComputeError:  # another processor may
        return True


def _prompts(model: Any) -> dict[str, str]:
    """Return the prompts that sentence-transformers puts before queries and documents."""
    default = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    prompts = {}
    for kind, names in (("query", ["query"]), ("document", ["document", "passage", "corpus"])):
        candidates = [model.prompts[name] for name in names if name in model.prompts]
        prompts[kind] = (candidates[0] if candidates else default) or ""
    return prompts


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, without the source locations of OpenVINO."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception from ")]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _silence_converters() -> Iterator[None]:
    """Suppress the output and the warnings of the converters."""
    discarded = io.StringIO()
    with (
        contextlib.redirect_stdout(discarded),
        contextlib.redirect_stderr(discarded),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        with _without_telemetry():
            yield


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make OpenVINO's telemetry module appear missing, so that OpenVINO sends nothing."""
    name = "openvino_telemetry"
    if name in sys.modules:  # imported elsewhere, or hidden already
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
