"""Tokens of WordPiece models such as BERT, by a cache of the tokens of each word.

These models tokenise each word on its own, and an archive repeats its words, so that a dictionary look-up replaces most
of the normalising and splitting. The tokens are equal to those of the tokenizer itself.
"""

import re
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKEN_BYTES = 4
MAX_WORD_CHARS = 100  # longer words, such as clauses of scripts without spaces, do not recur
MAX_CACHE_CHARS, ENTRY_CHARS = 2**23, 64  # of all cached words; overhead of an entry, in characters: 50 MB at most
# White space for Python only: a text that contains one of these is split by _WORD.
_PYTHON_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_WORD = re.compile(r"[^ \t\n\r]+")


class WordPieceTokenizer:
    """Tokenises texts word by word.

    Args:
        tokenizer: a tokenizer of `tokenizers` for which `tokenizes_by_word` is true. Its padding and truncation are
            switched off.
        max_tokens: the number of tokens of a text, special ones included.
        special: whether to add the model's special tokens.
    """

    def __init__(self, tokenizer: Any, max_tokens: int, *, special: bool) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        encoding = tokenizer.encode("a")
        position = encoding.special_tokens_mask.index(0)
        self._prefix = _to_bytes(encoding.ids[:position] if special else [])
        self._suffix = _to_bytes(encoding.ids[position + 1 :] if special else [])
        self._max_tokens = max(max_tokens - (len(self._prefix) + len(self._suffix)) // TOKEN_BYTES, 0)
        self._cache: dict[str, bytes] = {}  # bytes are joined faster than lists
        self._cache_chars = 0

    def token_ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the ids of the tokens of each text: int32, shape (tokens,)."""
        if self._cache_chars > MAX_CACHE_CHARS:  # replaced, not cleared: another thread may be reading it
            self._cache, self._cache_chars = {}, 0
        words_of_texts = [_split(text) for text in texts]
        uncached = [row for row, words in enumerate(words_of_texts) if max(map(len, words), default=0) > MAX_WORD_CHARS]
        encodings = self._tokenizer.encode_batch_fast([texts[row] for row in uncached], add_special_tokens=False)
        whole_texts = {row: _to_bytes(encoding.ids) for row, encoding in zip(uncached, encodings, strict=True)}
        for row in uncached:
            words_of_texts[row] = []
        tokens_of_texts = self._look_up(self._cache, [words[: self._max_tokens] for words in words_of_texts])
        arrays = []
        max_bytes = TOKEN_BYTES * self._max_tokens
        for row, (words, tokens) in enumerate(zip(words_of_texts, tokens_of_texts, strict=True)):
            ids = whole_texts.get(row) or b"".join(tokens)
            if len(ids) < max_bytes < TOKEN_BYTES * len(words):  # some words have no token
                ids = b"".join(self._look_up(self._cache, [words])[0])
            arrays.append(np.frombuffer(self._prefix + ids[:max_bytes] + self._suffix, dtype=np.int32))
        return arrays

    def _look_up(self, cache: dict[str, bytes], texts: Sequence[list[str]]) -> list[list[bytes]]:
        """Return the token ids of each word of each text; adds new words to the cache."""
        if new_words := list(set(chain.from_iterable(texts)).difference(cache)):
            self._cache_chars += sum(map(len, new_words)) + ENTRY_CHARS * len(new_words)
            cache |= zip(new_words, self._tokenize(new_words), strict=True)
        return [list(map(cache.__getitem__, words)) for words in texts]

    def _tokenize(self, words: Sequence[str]) -> list[bytes]:
        """Return the token ids of each word; joining the words into one text takes half the time."""
        encoding = self._tokenizer.encode(" ".join(words), add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], dtype=np.int64)
        word_ends = np.cumsum([len(word) + 1 for word in words])
        byte_ends = (TOKEN_BYTES * np.searchsorted(starts, word_ends)).tolist()
        ids = _to_bytes(encoding.ids)
        return [ids[start:end] for start, end in pairwise([0, *byte_ends])]


def tokenizes_by_word(tokenizer: Any) -> bool:
    """Return whether the tokens of a word between white space depend on that word alone.

    This holds for the tokenizers of BERT: WordPiece after a split at white space and punctuation.

    Args:
        tokenizer: a tokenizer of `tokenizers`.
    """
    from tokenizers import models, normalizers, pre_tokenizers  # noqa: PLC0415 - not every command embeds

    return (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and not any(map(_matches_spaces, tokenizer.get_added_tokens_decoder().values()))
        and not any(tokenizer.encode("a").type_ids)
        and (tokenizer.truncation or {}).get("direction", "right") == "right"
    )


def _matches_spaces(token: Any) -> bool:
    """Return whether an added token matches white space."""
    return token.lstrip or token.rstrip or _split(token.content) != [token.content]


def _to_bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()


def _split(text: str) -> list[str]:
    """Split a text at the white space of BERT's tokenizers."""
    if any(space in text for space in _PYTHON_SPACES):
        return _WORD.findall(text)
    return text.split()
