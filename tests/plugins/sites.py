"""Pages on two subjects, and functions that parse the blocks of generated pages."""

from lxml import html

DAM = {
    "gates": (
        "River dam gates are shut",
        "The government shut the gates of the river dam, despite protests over water.",
    ),
    "talks": (
        "Talks on the river dam collapse",
        "Talks between two countries about the water of the river dam failed.",
    ),
    "treaty": ("Treaty on the river dam signed", "The countries signed a treaty on the river dam and its water."),
}
CLUB = {
    "insolvent": ("Football club goes insolvent", "The football club could not pay its players, and fans went home."),
    "fans": ("Fans buy football club", "Fans of the football club bought it to rescue its players."),
    "match": ("Football club wins a match", "The football club and its players won a match before their fans."),
}
TITLES = {name: title for name, (title, _) in (DAM | CLUB).items()}


def block_of(path):
    """Return heading and links, as (title, address), of the block on a page; None without a block."""
    navs = html.fromstring(path.read_bytes()).xpath("//nav[@data-recommender]")
    assert len(navs) <= 1
    if not navs:
        return None
    return navs[0].findtext("h2"), [(link.text, link.get("href")) for link in navs[0].iter("a")]


def titles_of(path):
    """Return the titles in the block on a page."""
    block = block_of(path)
    return [title for title, _ in block[1]] if block else []


def led_to(path, root, href):
    """Return the file that a link on a page leads to, on a site with the root folder `root`; fail if it is missing."""
    target = root / href.lstrip("/") if href.startswith("/") else path.parent / href
    target = target.resolve()
    target = target / "index.html" if target.is_dir() else target
    assert target.is_file(), f"{path} links to {href}, which is not there"
    return target
