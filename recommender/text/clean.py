"""Cleaning and normalisation of texts, and their first sentences."""

import re
import unicodedata

MAX_TITLE_CHARS = 300  # of a first sentence that replaces a missing title
MAX_SEARCHED_CHARS = 4000  # of a text whose first sentence is searched
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and lone surrogates are not valid in stored UTF-8


def clean_text(text: str) -> str:
    """Return `text` without NUL, and with U+FFFD for each lone surrogate, so that it can be stored as UTF-8."""
    return _NOT_STORABLE.sub(lambda char: "" if char[0] == "\x00" else "\ufffd", text)


def normalise_title(title: str) -> str | None:
    """Return the words of `title` in lower case, for comparing titles; None if there are no words."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", title).casefold())
    return " ".join(words) or None


def first_sentence(text: str, language: str | None = None) -> str:
    """Return the first sentence of `text` on one line, cut at the end of a word before 300 characters.

    Example:
        >>> first_sentence("Maj. Gen. Smith spoke. He left.")
        'Maj. Gen. Smith spoke.'
    """
    import sentencex  # noqa: PLC0415 - not every command reads articles

    for sentence in sentencex.segment((language or "en").split("-")[0], text[:MAX_SEARCHED_CHARS]):
        line = " ".join(sentence.split())
        if line:
            return line if len(line) <= MAX_TITLE_CHARS else line[:MAX_TITLE_CHARS].rsplit(" ", 1)[0] + "…"
    return ""
