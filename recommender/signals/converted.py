"""A sentence-transformers model converted for OpenVINO, which runs it faster on CPUs and starts without PyTorch.

A model is converted once, from the module itself, and kept in the user's cache. What was converted is compared with
the module before it is used. It computes in bf16 where the processor does, in float32 elsewhere, and mostly in
integers if it was quantised.
"""

import contextlib
import io
import json
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.signals.cache import SETTINGS, kept
from recommender.signals.quantised import quantise
from recommender.signals.reference import Reference
from recommender.signals.wordpiece import WordPieces, read_by_words

__all__ = ["Converted", "NotConvertedError", "converted"]

VERSION = 1  # of what is written to the cache
AGREEMENT = 0.999  # cosine to the module's own vectors that a conversion must have
AGREEMENT_INT8 = 0.97  # the same in 8-bit integers, whose vectors are a model of their own
TOKENS = 2048  # of all texts that are computed at once; fewer leave cores waiting, more fall out of their caches
MOST = 256  # texts computed at once
PIECE = 64  # texts tokenised while others are computed
QUEUED = 2  # times as many batches as are computed at once; no core waits for one that is being taken
TRIED = (  # on texts of all lengths
    "",
    " A",
    "The council approved the plan on Tuesday.",
    "Heavy rain closed the coast road; crews hope to reopen it by noon. " * 3,
    "Returns an iterator to the first element of the container; if it is empty, end() is returned. " * 40,
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class NotConvertedError(Exception):
    """The model cannot be run converted; the message says why."""


class Tokens:
    """Turns texts into what a converted model reads.

    Args:
        folder: where its tokenizer is.
        settings: as `settings.json` has them.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
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


class Converted:
    """Embeds texts with OpenVINO.

    Args:
        folder: a folder that `converted` made.
        threads: how many cores it computes on; None for all.

    Attributes:
        dimensions: numbers in a vector.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self._folder, self._threads = folder, threads
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        self.dimensions, self._prompts = int(settings["dimensions"]), settings["prompts"]
        self._tokens = Tokens(folder, settings)
        self._core = _openvino().Core()
        self._compiled: dict[str, Any] = {}

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `Reference.encode`."""
        prompt = self._prompts["query" if query else "document"]
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        # One text is answered soonest by all cores together, many by each core on its own.
        compiled = self._compile("LATENCY" if len(texts) == 1 else "THROUGHPUT")
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
                request.start_async(tensors, share_inputs=False)
                running.append((request, [piece[place] for place in places]))
                on_done(done)
        while running:
            take()
        on_done(len(texts))
        return vectors

    def _compile(self, hint: str) -> Any:
        if hint not in self._compiled:
            options = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "bf16" if _computes_bf16() else "f32"}
            if self._threads:
                # Else every process that is to use one core would have itself bound to the first one.
                options |= {"INFERENCE_NUM_THREADS": str(self._threads), "ENABLE_CPU_PINNING": "NO"}
            self._compiled[hint] = self._core.compile_model(str(self._folder / "model.xml"), "CPU", options)
        return self._compiled[hint]


def converted(reference: Reference, key: str, threads: int | None = None, *, int8: bool = False) -> Converted:
    """Return a model converted, from the cache or made now.

    Args:
        reference: the model; loaded only if it has to be converted.
        key: a hash over the model's files and the encoding settings, `int8` among them.
        threads: see `Converted`.
        int8: whether it is to be quantised.

    Raises:
        NotConvertedError: it cannot be converted.
    """
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    folder, settings = kept(f"{key}-{VERSION}-{version('openvino')}", partial(_make, reference, int8))
    if "refused" in settings:
        raise NotConvertedError(settings["refused"])
    return _loaded(folder, threads)


@lru_cache(maxsize=2)  # several indexes in one process share a model
def _loaded(folder: Path, threads: int | None) -> Converted:
    return Converted(folder, threads)


def _make(reference: Reference, int8: bool, folder: Path) -> dict[str, Any]:
    """Convert a model into a folder; return its settings, or why it was refused."""
    reference.model  # noqa: B018 - a folder without a model is told as such
    try:
        with _quietly():
            return _convert(reference, folder, int8=int8)
    except NotConvertedError as error:
        settings = {"refused": str(error)}
    except OSError:  # the cache's
        raise
    # Whatever tracing, OpenVINO and the tokenizer raise, which have no error in common. That a model
    # cannot be converted costs speed only: PyTorch runs it then, and the reason is kept and told. Not
    # so of one in integers, which may go better another time.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        settings = {"refused": f"it cannot be converted ({reason})"}
        if int8:
            raise NotConvertedError(settings["refused"]) from error
    for path in folder.iterdir():
        path.unlink()
    return settings


def _convert(reference: Reference, folder: Path, *, int8: bool) -> dict[str, Any]:
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
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    for query in (False, True):
        cosines = (Converted(folder).encode(TRIED, query=query) * reference.encode(TRIED, query=query)).sum(axis=1)
        if not cosines.min() >= (AGREEMENT_INT8 if int8 else AGREEMENT):  # it may be no number
            raise NotConvertedError(f"converted, its vectors are others (cosine {cosines.min():.3f})")
    return settings


def _prompts(model: Any) -> dict[str, str]:
    """Return what sentence-transformers puts before queries and documents."""
    usual = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    found = {}
    for kind, names in (("query", ["query"]), ("document", ["document", "passage", "corpus"])):
        own = [model.prompts[name] for name in names if name in model.prompts]
        found[kind] = (own[0] if own else usual) or ""
    return found


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
