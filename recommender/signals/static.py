"""A static model: one vector for each token, distilled from a sentence-transformers model by model2vec.

A text is the mean of its tokens' vectors, so that nothing has to be computed but sums: for archives of millions on
a laptop. What is distilled differs a little from machine to machine, so the model is kept with the index.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import ModelError
from recommender.signals.reference import Reference

DIMENSIONS = 256  # that are kept of the model's, by principal components
PIECE = 256  # texts between two reports of progress
VECTORS, TOKENIZER = "vectors.safetensors", "tokenizer.json"
POOLING = {"mean": "mean", "cls": "first", "lasttoken": "last"}  # as model2vec calls them


class Static:
    """Embeds texts by the mean of their tokens' vectors.

    Args:
        files: what `distilled` gave.
        max_tokens: how many tokens of a text are read at most.
    """

    def __init__(self, files: Mapping[str, bytes], max_tokens: int) -> None:
        from model2vec import StaticModel  # noqa: PLC0415 - not every command embeds
        from safetensors.numpy import load  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415

        parts = load(files[VECTORS])
        self._model = StaticModel(
            parts["vectors"], Tokenizer.from_buffer(files[TOKENIZER]), normalize=True, max_length=max_tokens
        )

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `Reference.encode`. A text without known tokens gives zeros."""
        made = []
        for start in range(0, len(texts), PIECE):
            made.append(self._model.encode(texts[start : start + PIECE], use_multiprocessing=False))
            on_done(min(start + PIECE, len(texts)))
        return np.concatenate(made).astype(np.float32)


def distilled(name: str, reference: Reference) -> dict[str, bytes]:
    """Distil a model, which takes some seconds; return the files that make up the static one, by name.

    Args:
        name: the model's name, for messages.
        reference: the model.

    Raises:
        ModelError: it is of a kind that cannot be distilled.
    """
    model: Any = reference.model
    from model2vec.distill import distill_from_model  # noqa: PLC0415 - takes seconds
    from safetensors.numpy import save  # noqa: PLC0415

    try:
        pooling = POOLING[next(part.pooling_mode for part in model if hasattr(part, "pooling_mode"))]
        with contextlib.redirect_stderr(io.StringIO()):
            made = distill_from_model(
                model[0].auto_model, model.tokenizer, pca_dims=DIMENSIONS, pooling=pooling, device="cpu"
            )
    except Exception as error:  # whatever its many parts raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"No static model can be distilled from {name} ({reason}). Use the model as it is: --model {name}."
        ) from error
    vectors = np.ascontiguousarray(made.embedding, dtype=np.float16)
    return {VECTORS: save({"vectors": vectors}), TOKENIZER: made.tokenizer.to_str().encode()}
