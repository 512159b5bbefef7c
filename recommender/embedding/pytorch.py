"""A sentence-transformers model as it is, on PyTorch: for GPUs, for conversion, and for what cannot be converted."""

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

BATCH = 128  # texts between two reports of progress


class TorchModel:
    """Embeds texts with sentence-transformers.

    Args:
        name: the model's name, for messages.
        folder: the model's folder.
        max_tokens: how many tokens of a text are read at most.

    Raises:
        ModelError: the folder does not hold a model. Raised at first use, not here.
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
            query: whether they are queries, which some models put another prompt before.
            on_done: called with how many are done, now and then.
        """
        encode = self.model.encode_query if query else self.model.encode_document
        options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
        # Like lengths together: a model pads all texts that it reads at once to the longest.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        made = []
        for start in range(0, len(order), BATCH):
            made.append(np.asarray(encode([texts[place] for place in order[start : start + BATCH]], **options)))
            on_done(min(start + BATCH, len(order)))
        vectors = np.empty((len(texts), made[0].shape[1] if made else 0), dtype=np.float32)
        if made:
            vectors[order] = np.concatenate(made)
        return vectors

    @load_once
    def dimensions(self) -> int:
        """How many numbers are in a vector, which not every model says."""
        return int(self.encode(["a"], query=True).shape[1])

    @load_once
    def model(self) -> "SentenceTransformer":
        """The model, loaded."""
        return _load(self._folder, self._max_tokens)


@cache
def has_accelerator() -> bool:
    """Tell whether PyTorch can compute on a GPU here. Imports it only where its build may."""
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
        # PickleError: of weights in a pickle that holds more than numbers, which PyTorch refuses to run.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The folder {folder} does not hold a sentence-transformers model that can be loaded: {reason}"
        ) from error
    limit = model.max_seq_length
    with contextlib.suppress(AttributeError):  # a model of its own kind may know no limit
        model.max_seq_length = min(max_tokens, limit) if limit else max_tokens
    return model


def _after_fork() -> None:
    """Have PyTorch compute on one thread in a forked child: it would wait for threads that only the parent has."""
    if _load.cache_info().currsize:
        sys.modules["torch"].set_num_threads(1)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it is turned off with a warning


os.register_at_fork(after_in_child=_after_fork)
