"""Texts of WordPress posts as HTML: without short codes, with paragraphs."""

import re

from recommender.text.spans import without_spans

# WordPress turns blank lines into paragraphs, except within these elements and around the blocks below.
_VERBATIM = re.compile(r"(<(pre|script|style|textarea)\b.*?(?:</\2\s*>|\Z))", re.I | re.S)
_BLANK_LINES = re.compile(r"\r?\n\s*\r?\n")
_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|caption|col|colgroup|d[dlt]|details|div|fieldset|fig(?:caption|ure)|"
    r"footer|form|h[1-6]|header|hr|legend|li|menu|nav|[ou]l|p|section|summary|t(?:able|body|[dhr]|foot|head))[\s/>]",
    re.I,
)
# https://developer.wordpress.org/plugins/shortcodes/: attributes are name=value, with or without quotes; in double
# brackets a short code is text.
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|&quot;(?:[^&]|&(?!quot;))*+&quot;|[“”„″][^“”″]*+[“”″]|[^\s\[\]"']++)"""
_SHORT_CODE = re.compile(
    r"\[(?P<escaped>\[[^\[\]]{1,2000}\])\]|"
    rf"\[(?P<end>/)?(?P<name>[a-z][\w-]{{1,60}})(?P<attributes>(?:\s+[\w:.-]{{1,60}}\s*=\s*{_VALUE})++)?"
    r"(?P<words>[^\]\[]{0,200})\]",
    re.I | re.S,
)
# Of WordPress itself, its own plugins, and page builders: WPBakery, Divi, Fusion, Enfold, Shortcodes Ultimate,
# Cornerstone, Flatsome, King Composer, Bold Builder, Tatsu, SiteOrigin, Themify.
_KNOWN_NAMES = {
    "gallery", "caption", "wp_caption", "embed", "audio", "video", "playlist", "toc", "contact-form", "contact-form-7",
    "more", "nextpage", "latex", "youtube", "vimeo", "instagram", "googlemaps", "polldaddy", "slideshow",
}  # fmt: skip
_BUILDER_PREFIXES = (
    "vc_", "vcex_", "et_pb_", "fusion_", "av_", "su_", "cs_", "x_", "ux_", "kc_", "bt_bb_", "tatsu_", "siteorigin_",
    "themify_", "mk_", "nectar_", "dt_", "porto_", "elementor-", "woocommerce_", "edd_", "gravityform", "wpforms",
)  # fmt: skip
# Short codes whose content no reader sees as prose: source code, encoded HTML, addresses of media.
_NO_PROSE = re.compile(
    r"(?<!\[)\[(vc_raw_html|vc_raw_js|embed|audio|video|youtube|vimeo|latex|(?:source)?code|php|html|css|javascript|js|"
    r"xml|sql|bash|shell|python|ruby|java|csharp|cpp|et_pb_code|fusion_code|et_pb_video)\b[^\]]{0,2000}\]",
    re.I,
)
_BLOCK_START, _BLOCK_END = re.compile(r"<!-- wp:shortcode\b"), re.compile(r"<!-- /wp:shortcode -->")


def post_html(text: str) -> str:
    """Return the text of a post as HTML, without short codes and with <p> tags for blank lines."""
    return paragraphs(without_short_codes(text))


def without_short_codes(text: str) -> str:
    """Return the text of a post without its short codes; what they enclose is kept if it is prose.

    A word in brackets is a short code if it has attributes, if the text contains its end, or if WordPress or a page
    builder defines it: `[sic]` and `[1]` stay.
    """
    if "[" not in text:
        return text
    text = without_spans(text, _BLOCK_START, lambda start: _BLOCK_END)
    text = without_spans(text, _NO_PROSE, lambda start: re.compile(rf"\[/{start[1]}\]", re.I))
    closed = {match["name"].lower() for match in _SHORT_CODE.finditer(text) if match["end"]}

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"]
        name = match["name"].lower()
        is_known = name in _KNOWN_NAMES or name.startswith(_BUILDER_PREFIXES)
        words = match["words"].strip(" /\t\r\n")
        is_code = is_known or bool(match["attributes"]) or (name in closed and not words) or bool(match["end"])
        return "" if is_code else match[0]

    return _SHORT_CODE.sub(replacement, text)


def paragraphs(text: str) -> str:
    """Return the text of a post with <p> tags for blank lines; texts of the block editor already contain tags."""
    if "<!-- wp:" in text:
        return text
    parts = _VERBATIM.split(text)  # text, element, its name, text, ...
    parts[::3] = ["\n".join(map(_paragraph, _BLANK_LINES.split(part))) for part in parts[::3]]
    del parts[2::3]
    return "".join(parts)


def _paragraph(text: str) -> str:
    text = text.strip()
    if not text or _BLOCK.match(text):
        return text
    return f"<p>{text}" if _BLOCK.search(text) else f"<p>{text}</p>"
