import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recommender.publish.paths import GENERATORS, page_path


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/news/fire/", ["/news/fire/"] * 4),
        ("https://example.org", ["/"] * 4),
        ("//example.org/a/", ["/a/"] * 4),
        ("/a/#part", ["/a/"] * 4),
        ("a/b.html", ["/a/b.html"] * 4),
        ("../x/", ["/x/"] * 4),
        ("/?p=3", ["/?p=3", "/", "/", "/"]),
        ("/a", ["/a", "/a/", "/a", "/a"]),  # Hugo serves folders
        ("/a/index.html", ["/a/index.html", "/a/", "/a/index.html", "/a/"]),
        ("/caf%c3%a9/", ["/caf%C3%A9/", "/caf%C3%A9/", "/caf%C3%A9/", "/café/"]),
        ("/café au lait/", ["/caf%C3%A9%20au%20lait/"] * 3 + ["/café au lait/"]),
        ("http://[", [None] * 4),
    ],
)
def test_the_path_of_a_url(url, expected):
    assert [page_path(url, style) for style in ("path", "hugo", "jekyll", "eleventy")] == expected


@pytest.mark.parametrize("site", ["astro", "docusaurus"])
@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("/quay/docs/saw", "/quay/docs/saw"), ("/docs/saw/", "/docs/saw"), ("/docs/saw.html", "/docs/saw"),
        ("/docs/index.html", "/docs"), ("/", "/"), ("/index.html", "/"), ("https://x.example/?p=1", "/"),
        ("/%C3%9Cber%20uns/", "/Über uns"), ("/Über uns/", "/Über uns"), ("/a%2Fb%23/c%25/", "/a%2Fb%23/c%"),
        ("/v1.2/", "/v1.2"), ("/indexes/", "/indexes"),
    ],
)  # fmt: skip
def test_components_look_up_the_path_without_its_ending(site, url, key):
    assert page_path(url, site) == key


@example("A:0")
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_path_begins_with_a_slash_and_holds_no_fragment(url):
    for style in ("path", *GENERATORS):
        path = page_path(url, style)
        assert path is None or path.startswith("/")
        if path and style in ("path", "hugo", "jekyll"):
            assert path.isascii()
            assert not {"#", " ", '"', "<"} & set(path)
