"""Which texts are read by words, and which by characters; where a word ends."""

import re
import unicodedata

# Scripts without spaces, for `regex`: read by pairs of characters, whose words are one or two long, and by triples.
PAIRS = r"\p{Han}\p{Hiragana}\p{Katakana}ー々"
TRIPLES = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
# Latin script with the usual dashes and quotes, after NFKC. In it `re` finds the words that `regex` does, which takes
# in the marks that belong to letters elsewhere, three times as fast; and who reads no other need not import it, 20 ms.
LATIN = re.compile(r"[\0-\u02ff\u2010-\u2027\u2030-\u203e\u20a0-\u20c0]*")


def without_title(title: str, text: str) -> str:
    """Return a text without the title that it begins with; the text as it is if the title ends within a word of it."""
    rest = text.removeprefix(title)
    if not rest or len(rest) == len(text):
        return rest
    return text if _in_word(title[-1]) and _in_word(rest[0]) else rest


def _in_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LNM" or category == "Pc" or char in "\u200c\u200d"
