"""A block as an HTML fragment, rendered from a Jinja2 template: block.html, or a site's own."""

import hashlib
import os
import traceback
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, FileSystemLoader, Template, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from recommender.article import Recommendation
from recommender.errors import RecommenderError
from recommender.publish.keyed_blocks import link_field
from recommender.text.urls import web_url

DEFAULT_TEMPLATE = Path(__file__).with_name("block.html")


def fragment(
    block: Sequence[Recommendation],
    *,
    heading: str = "Related",
    fields: Sequence[str] = (),
    template: str | os.PathLike[str] | None = None,
) -> str:
    """Return a block as HTML; an empty string for an empty block.

    The template's output is escaped, and the url of a link is one that a page may link to (see `web_url`) or missing.
    A missing field is empty and false in every expression, so that no article breaks a template.

    Args:
        block: the links.
        heading: the heading of the block.
        fields: additional fields of a link in the template: names of the metadata, and `tags`.
        template: the file of another template; docs/how-to/publish-blocks.md lists its variables.

    Raises:
        RecommenderError: the template cannot be read or parsed, or fails.
    """
    if not block:
        return ""
    path = Path(template) if template is not None else DEFAULT_TEMPLATE
    links = [_Link(link, fields) for link in block]
    # Unique on the page, since the page's other blocks have other links.
    digest = hashlib.blake2b("\0".join([heading, *(link.id for link in block)]).encode(), digest_size=6).hexdigest()
    try:
        return _template(path).render(heading=heading, heading_id=f"related-{digest}", links=links)
    except RecommenderError:
        raise
    except Exception as error:  # expressions of the template may raise any error
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" in line {lines[-1]}" if lines else ""
        raise RecommenderError(
            f"The template {path} fails{where} at the block that begins with {block[0].id!r}: "
            f"{' '.join(str(error).split()) or type(error).__name__}."
        ) from error


def check(template: str | os.PathLike[str]) -> None:
    """Raise RecommenderError if a template cannot be read or parsed."""
    _template(Path(template))


class _Link:
    """A link in a template, with its fields as `link.name` and `link["name"]`."""

    def __init__(self, link: Recommendation, fields: Sequence[str]) -> None:
        additional: dict[str, Any] = {name: link_field(link, name) for name in fields}
        url = web_url(link.url) if link.url else None
        standard = {
            "id": link.id,
            "title": link.title or url or link.id,
            "url": url,
            "published": link.published,
            "section": link.section,
            "score": round(link.score, 2),
            "via": link.via,
        }
        self._values = {name: value for name, value in (additional | standard).items() if value is not None}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]


class _Missing(ChainableUndefined):
    """A missing field: empty, false and 0; operations on it return it again.

    ChainableUndefined alone raises on calls, arithmetic and comparisons.
    """

    __slots__ = ()

    def _self(self, *_: Any, **__: Any) -> "_Missing":
        return self

    def _false(self, _: Any) -> bool:
        return False

    def _zero(self, *_: Any) -> int:
        return 0

    __call__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _self  # type: ignore[assignment]
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _self  # type: ignore[assignment]
    __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = __round__ = _self  # type: ignore[assignment]
    __lt__ = __le__ = __gt__ = __ge__ = _false  # type: ignore[assignment]
    __int__ = _zero  # type: ignore[assignment]

    def __float__(self) -> float:  # type: ignore[override]
        return 0.0


@lru_cache(maxsize=8)
def _environment(folder: Path) -> SandboxedEnvironment:
    # A theme may come from anywhere, and a template can do more than print.
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=_Missing,
        keep_trailing_newline=True,
    )
    environment.filters["web_url"] = lambda value: web_url(str(value)) or ""
    environment.policies["json.dumps_kwargs"] = {"default": lambda value: value.isoformat() if value else None}
    return environment


def _template(path: Path) -> Template:
    """Return a compiled template from the cache, which reloads changed files."""
    try:
        return _environment(path.parent).get_template(path.name)
    except TemplateNotFound as error:
        raise RecommenderError(f"There is no template {path if error.name == path.name else error.name}.") from error
    except TemplateSyntaxError as error:
        raise RecommenderError(
            f"{error.filename or path} is not a template: {error.message} (line {error.lineno})."
        ) from error
    except (TemplateError, OSError, UnicodeDecodeError) as error:
        raise RecommenderError(f"The template {path} cannot be read: {error}.") from error
