"""Records of headless CMSs in JSON, with their fields named as those of Article.

Drupal's JSON:API, Strapi (4 and 5), Sanity, and the REST API of WordPress name and nest their fields always in the same
way, so no mapping has to be passed; one that is passed wins.
"""

from collections.abc import Mapping
from typing import Any

from recommender.sources import record
from recommender.sources.entry import UNPUBLISHED, Entry
from recommender.sources.rich_text import markdown_html
from recommender.sources.status import PRIVATE

_TEXT_NAMES = ("body", "content", "text", "blocks", "article", "richText")
_DRAFT_ID = "drafts."  # of a draft of Sanity; "versions." begins those of a release
# Types of documents of Sanity that are no articles, besides its own ones ("sanity.imageAsset", "system.group").
_PARTS = {"category", "tag", "author", "person", "sitesettings", "settings", "navigation", "menu", "redirect"}


def record_entry(where: str, fields: Mapping[str, Any], *, mapping: Mapping[str, str], id: str | None = None) -> Entry:
    """Convert a JSON record of any source to an Entry; see `record.record_entry`.

    Args:
        where: the position of the record for messages.
        fields: the record.
        mapping: the source's names for fields of Article.
        id: the id of a record without an id and a url.
    """
    named, excluded, clause = _named_fields(fields)
    if excluded:
        article_id = str(fields.get("id") or fields.get("_id") or "")
        return Entry(where, id=article_id, problems=(clause,), excluded=excluded)
    added = {name: value for name, value in named.items() if value not in (None, "") and name not in mapping}
    return record.record_entry(where, {**fields, **added} if added else fields, id=id, fields=mapping)


def _named_fields(fields: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return the fields of Article in a record of a CMS, why it is left out, and a clause on that; empty for none."""
    attributes = fields.get("attributes")
    if isinstance(attributes, Mapping):
        if "type" in fields and "--" in str(fields["type"]):
            return _drupal(attributes), "", ""
        if "publishedAt" in attributes:
            return _strapi(attributes)
    elif "documentId" in fields and "publishedAt" in fields:
        return _strapi(fields)
    elif "_id" in fields and "_type" in fields:
        return _sanity(fields)
    elif _is_rendered(fields.get("title")) and _is_rendered(fields.get("content")):
        return _wordpress(fields)
    return {}, "", ""


def _drupal(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a node; https://www.drupal.org/docs/core-modules-and-themes/core-modules/jsonapi-module."""
    body, path = attributes.get("body"), attributes.get("path")
    number = attributes.get("drupal_internal__nid")
    address = path.get("alias") if isinstance(path, Mapping) else None
    return {
        "title": attributes.get("title"),
        "text": body.get("processed") or body.get("value") if isinstance(body, Mapping) else body,
        "published": attributes.get("published_at") or attributes.get("created"),
        "url": address or (f"/node/{number}" if number else None),
        "language": attributes.get("langcode"),
        "excerpt": body.get("summary") if isinstance(body, Mapping) else None,
    }


def _strapi(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return the fields of an entry of Strapi; it has no date of publication before it is published."""
    if attributes["publishedAt"] is None:
        return {}, UNPUBLISHED, "its publishedAt is empty"
    text = _first_text(attributes)
    named = {
        "title": attributes.get("title"),
        "text": markdown_html(text) if isinstance(text, str) else text,
        "published": attributes["publishedAt"],
        "language": attributes.get("locale"),
        "url": attributes.get("url"),
        "slug": attributes.get("slug"),
        "section": _label(attributes.get("category")),
    }
    return named, "", ""


def _sanity(document: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return the fields of a document of Sanity; the id of a draft begins with "drafts."."""
    kind = str(document["_type"])
    if str(document["_id"]).startswith((_DRAFT_ID, "versions.")):
        return {}, UNPUBLISHED, "it is a draft, by its _id"
    if kind.lower() in _PARTS or kind.startswith(("sanity.", "system.", "assist.")):
        return {}, kind, f"its _type is {kind}"
    named = {
        "id": document["_id"],
        "text": _first_text(document),
        "published": document.get("publishedAt") or document.get("_createdAt"),
        "section": _label(document.get("category") or document.get("categories")),
        "language": document.get("language") or document.get("__i18n_lang"),
    }
    return named, "", ""


def _wordpress(post: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Return the fields of a post of WordPress's REST API; the names of its terms are there with `_embed` only."""
    if post["content"].get("protected"):
        return {}, PRIVATE, "it is protected by a password"
    embedded = post.get("_embedded")
    groups = embedded.get("wp:term") if isinstance(embedded, Mapping) else None
    lists = [group for group in groups if isinstance(group, list)] if isinstance(groups, list) else []
    terms = [term for group in lists for term in group if isinstance(term, Mapping)]
    names = {
        taxonomy: [str(term["name"]) for term in terms if term.get("taxonomy") == taxonomy and term.get("name")]
        for taxonomy in ("post_tag", "category")
    }
    excerpt = post.get("excerpt")
    named = {
        "title": post["title"]["rendered"],
        "text": post["content"]["rendered"],
        "published": post.get("date_gmt") or post.get("date"),
        "url": post.get("link"),
        "tags": names["post_tag"],  # otherwise numbers
        "section": next(iter(names["category"]), None),
        "excerpt": excerpt.get("rendered") if isinstance(excerpt, Mapping) else excerpt,
    }
    return named, "", ""


def _is_rendered(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("rendered"), str)


def _first_text(fields: Mapping[str, Any]) -> Any:
    return next((fields[name] for name in _TEXT_NAMES if fields.get(name)), None)


def _label(value: Any) -> Any:
    """Return the name of a category: an object, the first of a list, or wrapped in `data` and `attributes`."""
    if isinstance(value, list):
        value = value[0] if value else None
    for wrapper in ("data", "attributes"):
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if isinstance(value, Mapping):
        return next((value[name] for name in ("name", "title", "label") if isinstance(value.get(name), str)), None)
    return value if isinstance(value, str) else None
