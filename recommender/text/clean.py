"""Cleaned and normalised texts, and the first sentence of one."""

import re
import unicodedata

MAX_TITLE_CHARS = 300  # characters of a first sentence that stands in for a title
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and lone surrogates have no place in UTF-8 text


def clean_text(text: str) -> str:
    """Return `text` without NUL, and with U+FFFD for each lone surrogate, so that it can be stored as UTF-8."""
    return _NOT_STORABLE.sub(lambda found: "" if found[0] == "\x00" else "\ufffd", text)


def normalise_title(title: str) -> str | None:
    """Return the words of `title` in lower case, for telling whether two titles are the same; None if it has none."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", title).casefold())
    return " ".join(words) or None


def first_sentence(text: str, language: str | None = None) -> str:
    """Return the first sentence of `text` on one line, cut at a word's end after 300 characters.

    Example:
        >>> first_sentence("Maj. Gen. Smith spoke. He left.")
        'Maj. Gen. Smith spoke.'
    """
    import sentencex  # noqa: PLC0415 - not every command reads articles

    for sentence in sentencex.segment((language or "en").split("-")[0], text[:4000]):
        line = " ".join(sentence.split())
        if line:
            return line if len(line) <= MAX_TITLE_CHARS else line[:MAX_TITLE_CHARS].rsplit(" ", 1)[0] + "…"
    return ""
