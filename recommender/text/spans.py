"""Removal of the spans of a text between a start mark and an end mark."""

import re
from collections.abc import Callable


def without_spans(
    text: str, start_mark: re.Pattern[str], end_mark: Callable[[re.Match[str]], re.Pattern[str]], replacement: str = ""
) -> str:
    """Replace each span from a start mark to the next end mark; a start mark without an end mark stays.

    The time is linear in the length of the text; that of one pattern with `.*?` is quadratic if end marks are missing.

    Args:
        text: the text.
        start_mark: the pattern of start marks.
        end_mark: returns the pattern of the end mark for a start mark. It returns few different patterns.
        replacement: the text that replaces each span.

    Example:
        >>> without_spans("a %%b%% c %%d", re.compile("%%"), lambda start: re.compile("%%"))
        'a  c %%d'
    """
    parts: list[str] = []
    position = searched = 0
    missing: set[re.Pattern[str]] = set()  # end marks that do not occur from here on
    while start := start_mark.search(text, searched):
        searched = start.end()
        pattern = end_mark(start)
        if pattern in missing:
            continue
        if end := pattern.search(text, searched):
            parts += [text[position : start.start()], replacement]
            position = searched = end.end()
        else:
            missing.add(pattern)
    return "".join([*parts, text[position:]])
