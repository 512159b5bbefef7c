"""Records of Ghost: exports and answers of its APIs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from recommender.sources.rich_text import rich_text_html

EMAIL_ONLY = "email only"  # value of Entry.excluded
_TEXT_FIELDS = {"html", "lexical", "mobiledoc", "plaintext"}
_GHOST_FIELDS = {"lexical", "mobiledoc", "comment_id", "visibility", "feature_image", "uuid"}


def is_ghost_post(post: Mapping[str, Any]) -> bool:
    """Return whether a record is a post of Ghost, by its fields."""
    return {"slug", "published_at"} <= post.keys() and bool(_TEXT_FIELDS & post.keys() and _GHOST_FIELDS & post.keys())


def exclusion(post: Mapping[str, Any], is_email_only: bool) -> tuple[str, str]:
    """Return the reason for leaving a post out and a clause on it; empty texts for a post with a page."""
    if post.get("type") not in (None, "post", "page"):
        return str(post.get("type")), f"its type is {post.get('type')!r}"
    if post.get("status") == "sent" or is_email_only or post.get("email_only") in (True, 1):
        return EMAIL_ONLY, "it was sent by e-mail and has no page"
    return "", ""


def ghost_record(post: Mapping[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    """Return the record of a post or page. Its URL is its canonical URL, else its own, else /slug/.

    Args:
        post: the post as exported; its text is `html`, or if that is empty, `lexical` or `mobiledoc`.
        tags: the names of its tags, in their order.
    """
    # A tag that begins with "#" is internal.
    public_tags = [tag for tag in tags if not tag.startswith("#")]
    text = post.get("html") or next(filter(None, map(rich_text_html, (post.get("lexical"), post.get("mobiledoc")))), "")
    slug = post.get("slug")
    fields = {
        "id": post.get("id"),
        "url": post.get("canonical_url") or post.get("url") or (f"/{slug}/" if slug else None),
        "title": post.get("title"),
        "text": re.sub(r"__GHOST_URL__", "", str(text or post.get("plaintext") or "")),
        "published": post.get("published_at"),
        "section": public_tags[0] if public_tags else None,
        "tags": public_tags,
        "language": post.get("locale"),
        "status": post.get("status"),
        "type": post.get("type") or ("page" if post.get("page") in (1, True) else None),
        "slug": slug,
        "visibility": post.get("visibility"),
        "excerpt": post.get("custom_excerpt") or None,
        "image": str(post["feature_image"]).replace("__GHOST_URL__", "") if post.get("feature_image") else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def own_tags(post: Mapping[str, Any]) -> list[str]:
    """Return the names of the tags that a post contains itself, as answers of Ghost's APIs do."""
    tags = post.get("tags")
    tags = tags if isinstance(tags, list) else []
    return [str(tag["name"]) for tag in tags if isinstance(tag, Mapping) and tag.get("name")]
