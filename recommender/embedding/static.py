"""Static models: one vector per token, distilled from a sentence-transformers model by model2vec.

The vector of a text is the mean of its tokens' vectors: fast enough for archives of millions on a laptop. Distillation
differs in the last bits from machine to machine, so the index stores the model.
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
from recommender.embedding.wordpiece import WordPieceTokenizer, tokenizes_by_word
from recommender.errors import ModelError

VERSION = 2  # of the files in the cache
DIMENSIONS = 256  # principal components of the token vectors
MIN_LENGTH = 1e-32  # shorter sums count as zero
BATCH_TEXTS = 256  # between two reports of progress
VECTORS, TOKENIZER = "vectors.safetensors", "tokenizer.json"
POOLING = {"mean": "mean", "cls": "first", "lasttoken": "last"}  # names of sentence-transformers and of model2vec


class StaticEncoder:
    """Encodes texts as the mean of their tokens' vectors.

    Args:
        files: the files of a static model, as `static_model` returns them.
        max_tokens: the number of tokens of a text that are read.

    Attributes:
        dimensions: the length of a vector.

    Raises:
        ModelError: the files are damaged or refused.
    """

    def __init__(self, files: Mapping[str, bytes], max_tokens: int) -> None:
        from model2vec import StaticModel  # noqa: PLC0415 - not every command embeds
        from safetensors.numpy import load  # noqa: PLC0415

        try:
            tokenizer = load_tokenizer(files[TOKENIZER])
            vectors = load(files[VECTORS])["vectors"].astype(np.float32)  # summed twice as fast as float16
            if max(tokenizer.get_vocab().values()) >= len(vectors):
                raise ModelError("The static model is refused: it has tokens without a vector.")
            self._model = StaticModel(vectors, tokenizer, normalize=True, max_length=max_tokens)
        except ModelError:
            raise
        except Exception as error:  # safetensors and model2vec share no error class
            raise ModelError(f"The static model cannot be read ({error}). Build the index anew.") from error
        self.dimensions = int(self._model.dim)
        self._tokenizer = None
        if tokenizes_by_word(self._model.tokenizer):
            self._tokenizer = WordPieceTokenizer(self._model.tokenizer, max_tokens, special=False)
            self._max_chars = max_tokens * self._model.median_token_length  # the limit of model2vec
            if self._model.unk_token_id is not None:  # model2vec leaves out unknown tokens
                self._model.embedding[self._model.unk_token_id] = 0

    def encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return L2-normalised vectors; see `TorchModel.encode`. A text without known tokens has a zero vector."""
        vectors = []
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = texts[start : start + BATCH_TEXTS]
            with panics_as_errors():
                vectors.append(self._encode_batch(batch))
            on_done(min(start + BATCH_TEXTS, len(texts)))
        return np.concatenate(vectors)

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._tokenizer is None:
            return np.asarray(self._model.encode(texts, use_multiprocessing=False), dtype=np.float32)
        # The normalised sum of the token vectors equals the normalised mean, which model2vec computes.
        token_vectors = self._model.embedding
        sums = np.empty((len(texts), self.dimensions), dtype=np.float32)
        ids_of_texts = self._tokenizer.token_ids([text[: self._max_chars] for text in texts])
        for row, ids in zip(sums, ids_of_texts, strict=True):
            token_vectors.take(ids, axis=0).sum(axis=0, out=row)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), MIN_LENGTH)
        return sums


def static_model(base: TorchModel, key: str) -> dict[str, bytes]:
    """Return the files of a static model by name, from the cache or distilled now.

    Args:
        base: the model to distil; loaded only if the cache does not contain the static model.
        key: a hash over the files of the base model and the encoding settings.

    Raises:
        ModelError: a model of this kind cannot be distilled.
    """
    from importlib.metadata import version  # noqa: PLC0415 - not every command embeds

    folder, settings = cached_model(
        f"{key}-static-{VERSION}-{version('model2vec')}",
        partial(_distil, base),
        f"Distilling a static model from {base.name}",
    )
    return {file: (folder / file).read_bytes() for file in settings["files"]}


def _distil(base: TorchModel, folder: Path) -> dict[str, Any]:
    """Distil a model into a folder, in some seconds; return its settings, which are empty."""
    model: Any = base.model
    from model2vec.distill import distill_from_model  # noqa: PLC0415 - takes seconds
    from safetensors.numpy import save_file  # noqa: PLC0415

    try:
        pooling = POOLING[next(part.pooling_mode for part in model if hasattr(part, "pooling_mode"))]
        with contextlib.redirect_stderr(io.StringIO()):
            distilled = distill_from_model(
                model[0].auto_model, model.tokenizer, pca_dims=DIMENSIONS, pooling=pooling, device="cpu"
            )
    except Exception as error:  # model2vec and its dependencies share no error class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"No static model can be distilled from {base.name} ({reason}). Use the model as it is: "
            f"--model {base.name}."
        ) from error
    save_file({"vectors": np.ascontiguousarray(distilled.embedding, dtype=np.float16)}, folder / VECTORS)
    (folder / TOKENIZER).write_text(distilled.tokenizer.to_str(), encoding="utf-8")
    return {}
