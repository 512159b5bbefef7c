"""Tokens of WordPiece models such as BERT, which read a text word by word: each word is tokenised once and kept.

An archive repeats its words, and looking them up takes a fraction of what normalising and splitting the whole text
does. The tokens are those that the tokenizer itself gives.
"""

import re
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 4  # bytes of a token's number
LONGEST = 100  # characters of a word; what is longer, as clauses of scripts without spaces are, does not come again
MOST_KEPT, AROUND = 2**23, 64  # characters of words that are kept, and what one takes beside its own: 50 MB at most
# Where these tokenizers and Python see white space alike. What a control character does is left to the tokenizer.
_CONTROLS = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_WORD = re.compile(r"[^ \t\n\r]+")


class WordPieces:
    """Gives the tokens of texts.

    Args:
        tokenizer: of `tokenizers`, one that `read_by_words` takes. It is changed: it neither pads nor cuts any more.
        most: tokens of a text at most, special ones included.
        special: whether the model's special tokens stand around them.
    """

    def __init__(self, tokenizer: Any, most: int, *, special: bool) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        encoding = tokenizer.encode("a")
        own = encoding.special_tokens_mask.index(0)
        self._before = _packed(encoding.ids[:own] if special else [])
        self._after = _packed(encoding.ids[own + 1 :] if special else [])
        self._most = max(most - (len(self._before) + len(self._after)) // SIZE, 0)
        self._known: dict[str, bytes] = {}  # bytes are joined faster than lists
        self._size = 0

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the numbers of the tokens of each text: int32, shape (tokens,)."""
        if self._size > MOST_KEPT:  # another thread may be reading what was kept
            self._known, self._size = {}, 0
        split = [_words(text) for text in texts]
        whole = [place for place, words in enumerate(split) if max(map(len, words), default=0) > LONGEST]
        encodings = self._tokenizer.encode_batch_fast([texts[place] for place in whole], add_special_tokens=False)
        of_whole = {place: _packed(encoding.ids) for place, encoding in zip(whole, encodings, strict=True)}
        for place in whole:
            split[place] = []
        made = []
        found = self._found(self._known, [words[: self._most] for words in split])
        for place, (words, parts) in enumerate(zip(split, found, strict=True)):
            ids = of_whole.get(place) or b"".join(parts)
            if len(ids) < SIZE * self._most < SIZE * len(words):  # some words have no token
                ids = b"".join(self._found(self._known, [words])[0])
            made.append(np.frombuffer(self._before + ids[: SIZE * self._most] + self._after, dtype=np.int32))
        return made

    def _found(self, known: dict[str, bytes], texts: Sequence[list[str]]) -> list[list[bytes]]:
        """Return the tokens of the words of texts."""
        if new := list(set(chain.from_iterable(texts)).difference(known)):
            self._size += sum(map(len, new)) + AROUND * len(new)
            known |= zip(new, self._tokens(new), strict=True)
        return [list(map(known.__getitem__, words)) for words in texts]

    def _tokens(self, words: Sequence[str]) -> list[bytes]:
        """Return the tokens of words, of all at once: one after the other they take twice as long."""
        encoding = self._tokenizer.encode(" ".join(words), add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], dtype=np.int64)
        ends = np.cumsum([len(word) + 1 for word in words])
        cuts = (SIZE * np.searchsorted(starts, ends)).tolist()
        ids = _packed(encoding.ids)
        return [ids[start:end] for start, end in pairwise([0, *cuts])]


def read_by_words(tokenizer: Any) -> bool:
    """Tell whether a tokenizer of `tokenizers` reads what stands between white space on its own, whatever is beside it.

    So do BERT's: WordPiece after a split at white space and punctuation.
    """
    from tokenizers import models, normalizers, pre_tokenizers  # noqa: PLC0415 - not every command embeds

    return (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and not any(map(_reaches_out, tokenizer.get_added_tokens_decoder().values()))
        and not any(tokenizer.encode("a").type_ids)
        and (tokenizer.truncation or {}).get("direction", "right") == "right"
    )


def _reaches_out(token: Any) -> bool:
    """Tell whether an added token takes in white space."""
    return token.lstrip or token.rstrip or _words(token.content) != [token.content]


def _packed(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()


def _words(text: str) -> list[str]:
    if any(control in text for control in _CONTROLS):
        return _WORD.findall(text)
    return text.split()
