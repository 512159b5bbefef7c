"""Removal of consent banners, which are longer than many an article and the same on every page of a site."""

import re

from lxml.html import HtmlElement

MAX_BANNER_WORDS = 1500  # a longer element contains the page itself
_BLOCKS = ("div", "section", "aside", "dialog", "form")
# Names that consent managers give to the elements of their banners.
_VENDOR = re.compile(
    r"onetrust|ot-sdk|optanon|cookiebot|usercentrics|didomi|qc-cmp|sp_message|truste[-_]|borlabs-?cookie|klaro|iubenda-cs|"
    r"osano-cm|cky-consent|cookie-?law|cmplz|moove[-_]gdpr|termly|tarteaucitron|axeptio|eu-cookie|fc-consent|cookie-?consent|"
    r"\bcc-(?:window|banner|dialog|revoke)\b|consent-?(?:banner|manager|modal|popup|bar|dialog|overlay|notice)|"
    r"cookie-?(?:banner|bar|notice|notification|popup|modal|dialog|overlay|message|alert|disclaimer|prompt)|"
    r"gdpr-?(?:banner|bar|notice|popup|modal|dialog|consent|cookie)",
    re.I,
)
_GENERIC = re.compile(r"cookie|consent|gdpr|dsgvo|rgpd|privacy|datenschutz|\bcmp\b", re.I)
_REQUEST = re.compile(  # sentences of a banner, not of an article on biscuits
    r"\b(?:uses?|using|stores?|verwende[nt]|benutz\w+|nutz\w+|utilis\w+|usamos|utiliza\w*|usa|utilizz\w+|gebruik\w*|"
    r"använder|bruker|bruger|używa\w*|použív\w+|используе\w+)\b.{0,80}\bcookies?\b|"
    r"\bcookies?\b.{0,80}\b(?:consent|accept|agree|preferences|settings|policy|akzeptier\w+|zustimm\w+|einwillig\w+|"
    r"accepte\w*|acepta\w*|aceitar?|accett\w+|accepteer\w*)|"
    r"accept (?:all )?cookies|alle (?:cookies )?akzeptieren|tout accepter|файлы cookie",
    re.I | re.S,
)


def drop_consent_banners(tree: HtmlElement) -> None:
    """Remove the elements that ask for consent to cookies."""
    if not (_GENERIC.search(tree.text_content()) or _named(tree)):
        return
    for part in list(tree.iter(*_BLOCKS)):
        if part.getparent() is None or not _is_banner(part):
            continue
        if part.tag != "body" and not any(True for _ in part.iter("h1", "main", "article")):
            part.drop_tree()


def _named(tree: HtmlElement) -> bool:
    return any(_VENDOR.search(_names(part)) for part in tree.iter(*_BLOCKS))


def _names(part: HtmlElement) -> str:
    return " ".join(part.get(name, "") for name in ("id", "class", "aria-label", "aria-labelledby"))


def _is_banner(part: HtmlElement) -> bool:
    names = _names(part)
    is_dialog = (
        part.tag == "dialog" or part.get("role") in ("dialog", "alertdialog") or part.get("aria-modal") == "true"
    )
    is_vendor = bool(_VENDOR.search(names))
    is_content = any(parent.tag in ("article", "main") for parent in part.iterancestors())
    controls = ("button", "input", "a") if _GENERIC.search(names) else ("button", "input")
    if not (is_vendor or is_dialog or (not is_content and any(True for _ in part.iter(*controls)))):
        return False
    text = part.text_content()
    return len(text.split()) <= MAX_BANNER_WORDS and (is_vendor or bool(_REQUEST.search(text)))
