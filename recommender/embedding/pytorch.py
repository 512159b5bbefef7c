"""Sentence-transformers models on PyTorch: for GPUs, for conversion, and for models that OpenVINO cannot run."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from pickle import PickleError
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import ModelError
from recommender.system.load_once import load_once

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 128  # between two reports of progress


class TorchModel:
    """Encodes texts with sentence-transformers.

    Args:
        name: the model's name, for messages.
        folder: the model's folder.
        max_tokens: the number of tokens of a text that are read.

    Raises:
        ModelError: the folder does not contain a model. Raised at first use, not here.
    """

    def __init__(self, name: str, folder: Path, max_tokens: int) -> None:
        self.name = name
        self._folder, self._max_tokens = folder, max_tokens

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors, float32, shape (len(texts), dimensions).

        Args:
            texts: the texts.
            query: whether the texts are queries; some models have different prompts for queries and documents.
            on_done: called now and then with the number of texts encoded so far.
        """
        encode = self.model.encode_query if query else self.model.encode_document
        options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
        # Sorted by length, since the texts of a batch are padded to the longest.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        batches = []
        for start in range(0, len(order), BATCH_TEXTS):
            batches.append(np.asarray(encode([texts[row] for row in order[start : start + BATCH_TEXTS]], **options)))
            on_done(min(start + BATCH_TEXTS, len(order)))
        vectors = np.empty((len(texts), batches[0].shape[1] if batches else 0), dtype=np.float32)
        if batches:
            vectors[order] = np.concatenate(batches)
        return vectors

    @load_once
    def dimensions(self) -> int:
        """The length of a vector, measured, since not every model reports it."""
        return int(self.encode(["a"], query=True).shape[1])

    @load_once
    def model(self) -> "SentenceTransformer":
        """The loaded model."""
        return _load(self._folder, self._max_tokens)


@cache
def has_accelerator() -> bool:
    """Return whether PyTorch can compute on a GPU here; does not import a CPU build."""
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    if version("torch").endswith("+cpu"):
        return False
    import torch  # noqa: PLC0415 - takes seconds

    return bool(torch.accelerator.is_available())


@lru_cache(maxsize=2)  # several indexes in one process share a model
def _load(folder: Path, max_tokens: int) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, PickleError) as error:
        # PickleError: PyTorch refuses pickled weights that contain code.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The folder {folder} does not hold a sentence-transformers model that can be loaded: {reason}"
        ) from error
    limit = model.max_seq_length
    with contextlib.suppress(AttributeError):  # not every kind of model has a limit
        model.max_seq_length = min(max_tokens, limit) if limit else max_tokens
    return model


def _after_fork() -> None:
    """Limit PyTorch to one thread in a forked child, which does not have the parent's threads."""
    if _load.cache_info().currsize:
        sys.modules["torch"].set_num_threads(1)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise tokenizers turns it off with a warning


os.register_at_fork(after_in_child=_after_fork)
