"""MDX: the JavaScript in Markdown, which is no text of an article."""

import re

from recommender.text.spans import without_spans

# In a file that need not be MDX: a whole statement with a quoted module, which prose does not contain.
_IMPORT = re.compile(r"import\s+(?:(?:type\s+)?[\w$*{][^'\"\n]*\sfrom\s+)?(['\"])[^'\"\n]+\1\s*;?\s*")
_MODULE = re.compile(r"(?:import|export)\s")
_IMPORT_END = re.compile(r"['\"]\s*;?\s*$")
_COMMENT_START, _COMMENT_END = re.compile(r"\{/\*"), re.compile(r"\*/\}")
_NAME = re.compile(r"\{[A-Za-z_$][\w$.]*\}")
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|//[^\n]*", re.S)
MAX_STATEMENT_LINES = 500  # of an import or export


def strip_javascript(body: str, *, is_mdx: bool) -> str:
    """Return Markdown without imports, exports, comments and names in braces.

    Args:
        body: Markdown whose code is replaced by placeholders.
        is_mdx: whether the file is MDX; any other loses only imports of a quoted module.
    """
    if not is_mdx:
        return re.sub(rf"^{_IMPORT.pattern}$", "", body, flags=re.M) if "import" in body else body
    lines = body.split("\n")
    kept_lines: list[str] = []
    position = 0
    while position < len(lines):
        if _MODULE.match(lines[position]):
            position = _end_of_statement(lines, position)
        else:
            kept_lines.append(lines[position])
            position += 1
    return _NAME.sub("", without_spans("\n".join(kept_lines), _COMMENT_START, lambda start: _COMMENT_END))


def _end_of_statement(lines: list[str], start: int) -> int:
    """Return the position after a statement: where its brackets are balanced, or a blank line if they never are."""
    is_import = lines[start].startswith("import")
    depth = 0
    for position in range(start, min(start + MAX_STATEMENT_LINES, len(lines))):
        code = _STRING.sub('""', lines[position])
        depth += sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))
        if depth <= 0 and (not is_import or _IMPORT_END.search(lines[position]) or not lines[position].strip()):
            return position + 1
    return next((position for position in range(start, len(lines)) if not lines[position].strip()), len(lines))
