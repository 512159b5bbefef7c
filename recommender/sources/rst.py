"""Reader of reStructuredText (docutils), one article per file, as Sphinx, Pelican and Nikola use it.

The fields at the top of a document (`:date: 2026-03-05`) are its front matter. Roles and directives that docutils does
not contain, such as those of Sphinx, keep their text; those that generate text (`automodule`, `toctree`) give none.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recommender.sources import markdown, markup, record
from recommender.sources.entry import EMPTY_FILE, MAX_MARKUP_BYTES, Entry, File, decode
from recommender.sources.front_matter import split_nikola
from recommender.sources.front_record import front_record
from recommender.sources.generators.base import LIST_PAGE

MAX_CONTENTS_WORDS = 30  # of a page around a table of contents
_SETTINGS = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "warning_stream": False,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "initial_header_level": 2,
    "doctitle_xform": True,
    "toc_backlinks": False,
    "embed_stylesheet": False,
    "stylesheet_path": None,
    "output_encoding": "unicode",
}
_ROLE = re.compile(r":([a-zA-Z][\w.+:-]*):`")
_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([a-zA-Z][\w.+:-]*?)[ \t]?::(?:[ \t]|$)", re.M)
_TITLED_TARGET = re.compile(r"(.+?)\s*<([^<>]+)>", re.S)
# Directives whose argument is text, such as `.. versionadded:: 3.1`, and not a signature.
_TITLE_DIRECTIVE = re.compile(
    r"seealso|rubric|version\w+|deprecated|dropdown|card|tab-item|tab|details|step|centered|question", re.I
)
_REFERENCE_PARTS = re.compile(r"^[{|]\w+[}|]|\.(?:html|rst)(?=#|$)")  # `{filename}`, and the ending of a path
_CONTENTS = re.compile(r"^[ \t]*\.\.[ \t]+toctree::", re.M)
# Directives without text of their own: code, images, generated reference.
_SILENT = re.compile(
    r"toctree|auto\w+|code-?block|sourcecode|literalinclude|index|highlight|currentmodule|module|py:(?:current)?module|"
    r"graphviz|digraph|plot|ipython|doctest|testcode|testsetup|testoutput|mermaid|tikz|uml|raw|include|jupyter-execute|"
    r"youtube|vimeo|slides|gallery|listing|chart|autosummary|meta|tags|bibliography|program|default-domain|tabularcolumns|"
    r"only-html|TEASER_END|post-list|ipython3|prompt|parsed-literal|productionlist|math|contents|sectnum",
    re.I,
)


def read(file: File) -> Iterator[Entry]:
    """Yield the Entry of a file."""
    content = file.read_article_bytes(MAX_MARKUP_BYTES)
    if isinstance(content, Entry):
        yield content
        return
    text = decode(content)
    if not text.strip():
        yield Entry(file.name, id=file.id, problems=(EMPTY_FILE,))
        return
    try:
        import docutils  # noqa: F401, PLC0415 - an extra
    except ImportError:
        problem = "reStructuredText is read with docutils, which is not installed: pip install 'recommender[rst]'"
        yield Entry(file.name, id=file.id, problems=(problem,))
        return
    try:
        # Sphinx writes dashes and quotes as printers do.
        front, html = _convert(text, smart_quotes=file.site is not None and file.site.name == "sphinx")
    except Exception as error:  # docutils passes on errors of directives
        problem = f"the file cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        yield Entry(file.name, id=file.id, problems=(problem,))
        return
    yield _entry(file, front, html, has_contents=bool(_CONTENTS.search(text)))


def _entry(file: File, front: dict[str, Any], html: str, *, has_contents: bool) -> Entry:
    """Return the Entry of a document with this front matter and body.

    Args:
        has_contents: whether it contains a table of other documents.
    """
    page = file.page(front)
    if page.excluded:
        return file.excluded_entry(page)
    fields = front_record(front, file, page)

    def resolve(link: str) -> str | None:
        is_path = "://" not in link
        return markdown.link_target(file, page.url, _REFERENCE_PARTS.sub("", link) if is_path else link)

    content = markup.read_markup(html, resolve=resolve)
    words = len(content.text.split())
    if has_contents and words <= MAX_CONTENTS_WORDS:
        problem = f"it is a table of contents, with {words} words around it"
        return Entry(file.name, id=file.id, problems=(problem,), excluded=LIST_PAGE)
    fields |= {
        "id": file.id,
        "url": page.url,
        "title": fields.get("title") or content.heading or (markdown.title_from_name(file) if content.text else ""),
        "text": content.text,
        "related": list(content.related),
        "links": [link for link in content.links if link not in content.related],
    }
    return record.record_entry(file.name, fields, id=file.id, fields=file.fields, html=False)


def _convert(text: str, *, smart_quotes: bool) -> tuple[dict[str, Any], str]:
    """Return the front matter of a document, with its title, and its body as HTML."""
    from docutils import core, nodes  # noqa: PLC0415 - an extra

    header = split_nikola(text)
    front, text = (header.fields, header.body) if header else ({}, text)
    with _unknown_markup(text):
        tree = core.publish_doctree(text, settings_overrides={**_SETTINGS, "smart_quotes": smart_quotes})
    for info in list(tree.findall(nodes.docinfo)):
        for part in info.children:
            if isinstance(part, nodes.field):
                front[part[0].astext().strip().lower()] = part[1].astext().strip()
            elif isinstance(part, nodes.authors):
                front["authors"] = [author.astext() for author in part.children]
            else:
                front[part.tagname] = part.astext().strip()
    title = next((str(part.astext()) for part in tree.children if isinstance(part, nodes.title)), "")
    if title and not front.get("title"):
        front["title"] = title
    for part in [*tree.findall(nodes.system_message), *tree.findall(nodes.docinfo), *tree.findall(nodes.meta)]:
        if part.parent is not None:
            part.parent.remove(part)
    return front, str(core.publish_from_doctree(tree, writer="html5", settings_overrides=_SETTINGS))


@contextmanager
def _unknown_markup(text: str) -> Iterator[None]:
    """Register the roles and directives of a text that docutils does not contain, for the time of one document.

    docutils keeps them in two dicts of its modules, which other programs in the process, such as Pelican, use too.
    """
    from docutils.parsers.rst import directives, roles  # noqa: PLC0415 - an extra

    known_directives = {*directives._directives, *directives._directive_registry}
    known_roles = {*roles._roles, *roles._role_registry}
    registered = dict(directives._directives), dict(roles._roles)
    try:
        for name in {name.lower() for name in _DIRECTIVE.findall(text)}:
            if _SILENT.fullmatch(name) or name not in known_directives:
                directives.register_directive(name, _directive(name))
        for name in {name.lower() for name in _ROLE.findall(text)} - known_roles:
            roles.register_local_role(name, _role)
        yield
    finally:
        for names, before in zip((directives._directives, roles._roles), registered, strict=True):
            names.clear()
            names.update(before)


def _directive(name: str) -> Any:
    """Return a directive class: without a result for the names in _SILENT, else with the text of its content."""
    from docutils import nodes  # noqa: PLC0415 - an extra
    from docutils.parsers.rst import Directive  # noqa: PLC0415

    class AnyOption(dict[str, Any]):
        def __missing__(self, option: str) -> Any:
            return lambda value: value

        def __bool__(self) -> bool:
            return True

    class Unknown(Directive):  # type: ignore[misc]
        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = AnyOption()

        def run(self) -> list[Any]:
            if _SILENT.fullmatch(name):
                return []
            container = nodes.container(classes=[name.replace(":", "-")])
            if self.arguments and _TITLE_DIRECTIVE.fullmatch(name):
                parsed, _ = self.state.inline_text(self.arguments[0], self.lineno)
                container += nodes.paragraph("", "", *parsed)
            self.state.nested_parse(self.content, self.content_offset, container)
            return [container]

    return Unknown


def _role(name: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()) -> Any:
    """Return the text of a role, as a link if its target is a page; a role function of docutils."""
    from docutils import nodes  # noqa: PLC0415 - an extra

    text = text.replace("\0", "")
    titled = _TITLED_TARGET.fullmatch(text)
    label, target = (titled[1], titled[2]) if titled else (text, text)
    if not titled and label.startswith("~"):
        label = label.rpartition(".")[2]
    label = label.lstrip("!~")
    node = nodes.reference(raw, label, refuri=target) if name == "doc" else nodes.inline(raw, label)
    return [node], []
