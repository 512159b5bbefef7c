import pytest
from ada_url import URL
from hypothesis import example, given
from hypothesis import strategies as st

from recommender.article import ArticleSummary
from recommender.publish.paths import PATH_STYLES, page_path, page_url


def paths(id, url=None, **metadata):
    return [page_path(ArticleSummary(id, "", url=url, metadata=metadata), site) for site in PATH_STYLES[:4]]


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
    assert paths("posts/other.md", url) == expected


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("posts/foo.md", ["/posts/foo/", "/posts/foo/", "/posts/foo.html", "/posts/foo/"]),
        ("posts/index.md", ["/posts/"] * 4),
        ("index.md", ["/"] * 4),
        ("_index.md", ["/_index/", "/", "/_index.html", "/_index/"]),
        ("a/b.html", ["/a/b.html", "/a/b/", "/a/b.html", "/a/b/"]),
        ("a/index.html", ["/a/"] * 4),
        ("foo/foo.md", ["/foo/foo/", "/foo/foo/", "/foo/foo.html", "/foo/"]),
        ("content/foo.md", ["/content/foo/", "/foo/", "/content/foo.html", "/content/foo/"]),
        ("_docs/foo.md", ["/_docs/foo/", "/_docs/foo/", "/docs/foo.html", "/_docs/foo/"]),
        ("_docs/index.md", ["/_docs/", "/_docs/", "/docs/index.html", "/_docs/"]),
        ("Foo Bar.md", ["/Foo%20Bar/", "/foo-bar/", "/Foo%20Bar.html", "/Foo Bar/"]),
        ("Über.md", ["/%C3%9Cber/", "/%C3%BCber/", "/%C3%9Cber.html", "/Über/"]),
        ("a, b & c!.md", ["/a,%20b%20&%20c!/", "/a-b--c/", "/a,%20b%20&%20c!.html", "/a, b & c!/"]),
        ("a#1.md", ["/a%231/", "/a%231/", "/a%231.html", "/a#1/"]),
        ("./x.md", ["/x/", "/x/", "/x.html", "/x/"]),
        ("../x.md", [None] * 4),
        ("17", [None] * 4),
        ("news/fire.txt", [None] * 4),
        ("https://example.org/a.html", [None] * 4),
    ],
)  # fmt: skip
def test_the_path_of_a_file(id, expected):
    assert paths(id) == expected


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
    assert page_path(ArticleSummary("posts/other.md", "", url=url), site) == key


@pytest.mark.parametrize("site", ["astro", "docusaurus"])
def test_components_of_files(site):
    article = ArticleSummary("posts/Big Fire.md", "")
    assert (page_path(article, site), page_url(article, site)) == ("/posts/Big Fire", "/posts/Big%20Fire/")
    assert page_path(ArticleSummary("17", ""), site) is None


def test_a_url_derived_from_a_markdown_file_becomes_that_of_the_generator():
    assert paths("Foo Bar.md", "/Foo%20Bar/") == paths("Foo Bar.md")
    assert paths("about.md", "/about/", permalink="/about/") == ["/about/"] * 4
    assert paths("about.md", "/who/") == ["/who/"] * 4


def test_links_without_a_url_lead_to_the_path():
    assert page_url(ArticleSummary("a#1.md", ""), "eleventy") == "/a%231/"
    assert page_url(ArticleSummary("Foo Bar.md", "", url="/Foo%20Bar/"), "hugo") == "/foo-bar/"
    assert page_url(ArticleSummary("x.md", "", url="https://example.org/x"), "hugo") == "https://example.org/x"
    assert page_url(ArticleSummary("17", ""), "path") is None


@example("", "A:0")
@given(
    st.text(st.characters(exclude_categories=("Cs",))), st.none() | st.text(st.characters(exclude_categories=("Cs",)))
)
def test_any_path_begins_with_a_slash_and_holds_no_fragment(id, url):
    article = ArticleSummary(f"{id}.md", "", url=url)
    for site in PATH_STYLES:
        path = page_path(article, site)
        assert path is None or path.startswith("/")
        if path and site in ("path", "hugo", "jekyll"):
            assert path.isascii()
            assert not {"#", " ", '"', "<"} & set(path)


@pytest.mark.parametrize("site", PATH_STYLES)
@pytest.mark.parametrize(
    ("id", "url"),
    [
        ("//evil.example/a.md", None), ("/\\evil.example/a.md", None), ("///evil.example/a.md", None),
        ("a.md", "//evil.example/"), ("a.md", "/\\evil.example/"), ("a.md", "\u200bjavascript:alert(1)"),
    ],
)  # fmt: skip
def test_no_page_links_to_another_site_by_a_path(site, id, url):
    address = page_url(ArticleSummary(id, "", url=url), site)
    assert address is None or URL(address, base="https://site.example/a/").origin == "https://site.example"
