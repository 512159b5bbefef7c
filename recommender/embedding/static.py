"""A static model: one vector for each token, distilled from a sentence-transformers model by model2vec.

A text is the mean of its tokens' vectors, so that nothing has to be computed but sums: for archives of millions on
a laptop. What is distilled differs a little from machine to machine, so the model is kept with the index.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.embedding.model_cache import cached_model
from recommender.embedding.pytorch import TorchModel
from recommender.embedding.static_tokenizer import load_tokenizer, panics_as_errors
from recommender.embedding.wordpiece import WordPieces, read_by_words
from recommender.errors import ModelError

VERSION = 2  # of what is written to the cache
DIMENSIONS = 256  # that are kept of the model's, by principal components
LEAST = 1e-32  # length of a sum that does not count as none
PIECE = 256  # texts between two reports of progress
VECTORS, TOKENIZER = "vectors.safetensors", "tokenizer.json"
POOLING = {"mean": "mean", "cls": "first", "lasttoken": "last"}  # as model2vec calls them


class StaticEncoder:
    """Embeds texts by the mean of their tokens' vectors.

    Args:
        files: what `distilled` gave.
        max_tokens: how many tokens of a text are read at most.

    Attributes:
        dimensions: numbers in a vector.
    """

    def __init__(self, files: Mapping[str, bytes], max_tokens: int) -> None:
        from model2vec import StaticModel  # noqa: PLC0415 - not every command embeds
        from safetensors.numpy import load  # noqa: PLC0415

        try:
            tokenizer = load_tokenizer(files[TOKENIZER])
            vectors = load(files[VECTORS])["vectors"].astype(np.float32)  # twice as fast to add up
            if max(tokenizer.get_vocab().values()) >= len(vectors):
                raise ModelError("The static model is refused: it has tokens without a vector.")
            self._model = StaticModel(vectors, tokenizer, normalize=True, max_length=max_tokens)
        except ModelError:
            raise
        except Exception as error:  # safetensors and model2vec have no error in common
            raise ModelError(f"The static model cannot be read ({error}). Build the index anew.") from error
        self.dimensions = int(self._model.dim)
        self._words = None
        if read_by_words(self._model.tokenizer):
            self._words = WordPieces(self._model.tokenizer, max_tokens, special=False)
            self._characters = max_tokens * self._model.median_token_length  # as many as model2vec reads
            if self._model.unk_token_id is not None:  # which model2vec leaves out
                self._model.embedding[self._model.unk_token_id] = 0

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `Reference.encode`. A text without known tokens gives zeros."""
        vectors = []
        for start in range(0, len(texts), PIECE):
            piece = texts[start : start + PIECE]
            with panics_as_errors():
                vectors.append(self._summed(self._words, piece) if self._words else self._encoded(piece))
            on_done(min(start + PIECE, len(texts)))
        return np.concatenate(vectors)

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self._model.encode(texts, use_multiprocessing=False), dtype=np.float32)

    def _summed(self, words: WordPieces, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what model2vec would: the mean of the tokens' vectors, of length 1, is their sum of length 1."""
        of_tokens = self._model.embedding
        sums = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, ids in zip(sums, words.ids([text[: self._characters] for text in texts]), strict=True):
            of_tokens.take(ids, axis=0).sum(axis=0, out=row)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), LEAST)
        return sums


def static_model(reference: TorchModel, key: str) -> dict[str, bytes]:
    """Return the files that make up a static model, by name; it is distilled once and then comes from the cache.

    Args:
        reference: the model that it is distilled from; loaded only if it has to be distilled.
        key: a hash over that model's files and the encoding settings.

    Raises:
        ModelError: it is of a kind that cannot be distilled.
    """
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    folder, settings = cached_model(
        f"{key}-static-{VERSION}-{version('model2vec')}",
        partial(_make, reference),
        f"Distilling a static model from {reference.name}",
    )
    return {file: (folder / file).read_bytes() for file in settings["files"]}


def _make(reference: TorchModel, folder: Path) -> dict[str, Any]:
    """Distil a model into a folder, which takes some seconds; it has no settings."""
    model: Any = reference.model
    from model2vec.distill import distill_from_model  # noqa: PLC0415 - takes seconds
    from safetensors.numpy import save_file  # noqa: PLC0415

    try:
        pooling = POOLING[next(part.pooling_mode for part in model if hasattr(part, "pooling_mode"))]
        with contextlib.redirect_stderr(io.StringIO()):
            made = distill_from_model(
                model[0].auto_model, model.tokenizer, pca_dims=DIMENSIONS, pooling=pooling, device="cpu"
            )
    except Exception as error:  # whatever its many parts raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"No static model can be distilled from {reference.name} ({reason}). Use the model as it is: "
            f"--model {reference.name}."
        ) from error
    save_file({"vectors": np.ascontiguousarray(made.embedding, dtype=np.float16)}, folder / VECTORS)
    (folder / TOKENIZER).write_text(made.tokenizer.to_str(), encoding="utf-8")
    return {}
