"""Loading the tokenizer of a static model safely: it comes with the index, so its file may be hostile.

Only components of sentence-transformers tokenizers are loaded, within limits: a normalizer that lets a text grow
without bounds aborts the process, a regular expression that fails panics in Rust.
"""

import base64
import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

from recommender.errors import ModelError

MODELS = {"WordPiece", "WordLevel", "BPE", "Unigram"}
NORMALIZERS = {
    *("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"),
    *("Replace", "Strip", "StripAccents"),
}
PRE_TOKENIZERS = {
    *("BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Split", "UnicodeScripts"),
    *("Whitespace", "WhitespaceSplit"),
}
PATTERNS = {  # regular expressions of XLM-R and T5, GPT-4 and Llama 3, Qwen
    " {2,}",
    *(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
        for digits in (r"\p{N}", r"\p{N}{1,3}")
    ),
}
MAX_COMPONENTS = 16  # in a normalizer or a pre-tokenizer
MAX_GROWTH = 64  # ratio of lengths after and before a normalizer; U+FDFA has 18 characters in NFKC, 33 bytes
MAX_WORD_CHARS = 1000  # in a word, since WordPiece takes quadratic time; BERT has 100


def load_tokenizer(content: bytes) -> Any:
    """Load a tokenizer of `tokenizers` from JSON, without padding, truncation and special tokens.

    Raises:
        ModelError: it contains a component that no distilled model has, or cannot be read.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - not every command embeds

    try:
        record = json.loads(content)
        growth = math.prod(map(_growth, _components(record, "normalizer", NORMALIZERS)))
        if growth > MAX_GROWTH:
            raise ModelError(f"its normalizer makes a text up to {growth:.0f} times as long")
        for component in _components(record, "pre_tokenizer", PRE_TOKENIZERS):
            if component["type"] == "Split":
                _check_pattern(component["pattern"])
        model = record["model"]
        if model["type"] not in MODELS:
            raise ModelError(f"its model is a {model['type']}")
        if model.get("max_input_chars_per_word", 0) > MAX_WORD_CHARS:
            raise ModelError(f"it reads words of more than {MAX_WORD_CHARS} characters")
        unused = dict.fromkeys(("truncation", "padding", "post_processor", "decoder"))
        with panics_as_errors():
            return Tokenizer.from_str(json.dumps(record | unused))
    except ModelError as error:
        reason = str(error)
    except Exception as error:  # tokenizers raises plain Exception
        reason = f"it cannot be read ({error or type(error).__name__})"
    raise ModelError(
        f"The tokenizer of the static model is refused: {reason}. Use another model, or build the index anew."
    )


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise ModelError for a Rust panic within tokenizers, whose exception class is not a subclass of Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"The tokenizer of the static model failed ({error}). Use another model.") from error


def _components(record: dict[str, Any], kind: str, allowed: set[str]) -> list[dict[str, Any]]:
    """Return the components of a normalizer or pre-tokenizer, with sequences flattened."""
    queue, components = [record[kind]] if record.get(kind) else [], []
    while queue:
        component = queue.pop(0)
        if component["type"] == "Sequence":
            queue = [*component["normalizers" if kind == "normalizer" else "pretokenizers"], *queue]
        elif component["type"] in allowed:
            components.append(component)
        else:
            raise ModelError(f"its {kind} has a {component['type']}")
        if len(components) + len(queue) > MAX_COMPONENTS:
            raise ModelError(f"its {kind} has more than {MAX_COMPONENTS} components")
    return components


def _growth(component: dict[str, Any]) -> float:
    """Return the largest ratio by which a component of a normalizer lengthens a text."""
    match component["type"]:
        case "Replace":
            _check_pattern(component["pattern"])
            return max(len(component["content"]) / len(component["pattern"].get("String", " ")), 1)
        case "Prepend":
            return max(len(component["prepend"]), 1)
        case "ByteLevel":
            return 4
        case "Precompiled":
            return _max_replacement_bytes(base64.b64decode(component["precompiled_charsmap"] or ""))
        case _:  # Unicode normalisation: its largest expansion fits in MAX_GROWTH and does not compound
            return 1


def _max_replacement_bytes(charsmap: bytes) -> int:
    """Return the largest number of bytes by which a character map of SentencePiece replaces a character.

    The map is the size of a trie (4 bytes), the trie, and the replacements, each terminated by a zero byte.
    """
    replacements = charsmap[4 + int.from_bytes(charsmap[:4], "little") :]
    return max(map(len, replacements.split(b"\0")))


def _check_pattern(pattern: dict[str, str]) -> None:
    """Raise ModelError for a regular expression outside PATTERNS, and for an empty pattern."""
    if not pattern.get("String") and pattern.get("Regex") not in PATTERNS:
        raise ModelError(f"it has the regular expression {pattern.get('Regex', '')[:60]!r}, which is not supported")
