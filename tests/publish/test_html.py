"""Blocks as HTML: parsed as by a browser, and compared with their links."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from recommender import Recommendation, RecommenderError
from recommender.publish.html import fragment

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda text: text.strip() == text)
urls = st.one_of(
    st.none(),
    st.from_regex(r"https?://[a-z.]{1,20}/[!-~]{0,30}", fullmatch=True),
    st.from_regex(r"/?[a-zé\"'<>&/.-]{1,30}", fullmatch=True),
    st.builds("{}:{}".format, st.sampled_from(["javascript", "JavaScript", " data", "vbscript", "x"]), st.text()),
)
links = st.builds(
    Recommendation,
    id=texts,
    title=texts | st.just(""),
    url=urls,
    published=st.none() | st.datetimes(timezones=st.just(UTC)),
    section=st.none() | texts,
)


@given(st.lists(links, min_size=1, max_size=4), texts)
def test_the_default_block_contains_only_the_links(block, heading):
    page = html.fromstring(fragment(block, heading=heading))
    names = {"nav", "h2", "ul", "li", "a", "time"}
    assert {element.tag for element in page.iter()} <= names
    assert {name for element in page.iter() for name in element.attrib} <= {
        "class", "aria-labelledby", "id", "href", "datetime", "data-recommender",
    }  # fmt: skip
    (title,) = page.iter("h2")
    assert (page.tag, page.get("aria-labelledby")) == ("nav", title.get("id"))
    assert title.text == heading
    items = list(page.iter("li"))
    assert len(items) == len(block)
    for item, link in zip(items, block, strict=True):
        anchors, times = list(item.iter("a")), list(item.iter("time"))
        assert [time.get("datetime") for time in times] == ([link.published.isoformat()] if link.published else [])
        for anchor in anchors:
            assert anchor.get("href") == link.url.strip()
            assert not anchor.get("href").lower().startswith(("javascript:", "data:", "vbscript:", "x:"))
        link_text = anchors[0].text if anchors else item.text
        assert link_text.split() == (link.title or (anchors and link.url.strip()) or link.id).split()
        assert all(element.text for element in item.iter() if element is not item)  # no empty tag


def test_an_empty_block_is_an_empty_text():
    assert fragment([]) == ""


def test_two_blocks_of_a_page_have_two_ids_and_one_block_always_the_same():
    first, second = (html.fromstring(fragment([Recommendation(id, id)])) for id in "ab")
    assert first.get("aria-labelledby") != second.get("aria-labelledby")
    assert fragment([Recommendation("a", "a")]) == fragment([Recommendation("a", "a")])


@pytest.fixture
def template(tmp_path):
    def write_template(text):
        path = tmp_path / "block.html"
        path.write_text(text, encoding="utf-8")
        return path

    return write_template


LINK = Recommendation(
    "a",
    "A <b>",
    url="/a/",
    published=datetime(2026, 1, 2, tzinfo=UTC),
    score=0.256,
    tags=("x", "y"),
    metadata={"image": "a.png", "items": 3, "og-image": "o.png", "title": "not this", "empty": None, "_hidden": 1},
)


def test_a_template_receives_the_links_with_the_chosen_fields(template):
    path = template(
        "{{ heading }}|{% for link in links %}{{ link.title }} {{ link.image }} {{ link.other }}{% endfor %}"
    )
    assert fragment([LINK], template=path, heading="More", fields=["image"]) == "More|A &lt;b&gt; a.png "
    assert fragment([LINK], template=path) == "Related|A &lt;b&gt;  "
    path = template(
        "{{ links[0].items }} {{ links[0]['og-image'] }} {{ links[0]._hidden }} {{ links[0].tags | join('+') }}"
    )
    assert fragment([LINK], template=path, fields=["items", "og-image", "_hidden", "tags"]) == "3 o.png 1 x+y"
    assert fragment([LINK], template=template("{{ links[0].score }} {{ links[0].via }}")) == "0.26 match"
    assert fragment([LINK], template=template("{{ links[0].title }}"), fields=["title"]) == "A &lt;b&gt;"


@pytest.mark.parametrize(
    "expression",
    [
        "x.y.z", "x()", "x.isoformat()", "x['y'][0]", "x[:3]", "x + 1", "1 + x", "x - 1", "2 * x", "x / 2", "x // 2",
        "x % 2", "-x", "x ~ ''", "x | upper", "x | round(1)", "x | length or ''", "x | truncate(3)", "x | join(',')",
        "x | sort | join", "x | replace('a', 'b')", "x | default('')", "x | first", "x | abs", "x | batch(2) | join",
        "x | web_url", "'a' if x else ''", "'a' if x > 3 else ''", "'a' if 3 > x else ''", "'a' if x >= 3 else ''",
        "'a' if x == 3 else ''", "'a' if 'b' in x else ''", "'' if x | int == 0 else 'a'", "x.strftime('%d')",
        "'' if x | float == 0 else 'a'", "'' if x | tojson == 'null' else 'a'",
    ],
)  # fmt: skip
def test_missing_values_do_not_break_a_template(template, expression):
    path = template(f"[{{{{ {expression} }}}}]".replace("x", "links[0].empty", 1))
    assert fragment([LINK], template=path, fields=["empty"]) == "[]"
    assert fragment([Recommendation("a", "")], template=path, fields=["empty"]) == "[]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n{{ 1 / 0 }}", "block.html fails in line 2 at the block that begins with 'a': division by zero."),
        ("\n\n{% if %}", "block.html is not a template: Expected an expression"),
        ("{{ links | nosuch }}", "No filter named 'nosuch'. (line 1)."),
        ("{% include 'other.html' %}", "'other.html' not found"),
    ],
)
def test_errors_of_a_template_are_sentences(template, text, sentence):
    with pytest.raises(RecommenderError) as error:
        fragment([LINK], template=template(text))
    assert sentence in str(error.value)


def test_a_missing_or_binary_template_is_an_error(template, tmp_path):
    with pytest.raises(RecommenderError, match=r"There is no template .*/no\.html\."):
        fragment([LINK], template=tmp_path / "no.html")
    path = template("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecommenderError, match="cannot be read"):
        fragment([LINK], template=path)


def test_a_template_can_include_others_beside_it_and_is_read_again_when_it_changes(template, tmp_path):
    (tmp_path / "one.html").write_text("{{ link.title }}")
    path = template("{% for link in links %}{% include 'one.html' %}{% endfor %}")
    assert fragment([LINK], template=path) == "A &lt;b&gt;"
    template("all new")
    assert fragment([LINK], template=path) == "all new"


def test_a_template_reads_nothing_but_its_variables(template):
    path = template(
        "{{ ''.__class__.__mro__ }}{{ links.__class__ }}{{ heading.format.__globals__ }}{{ links[0].__init__ }}"
    )
    assert fragment([LINK], template=path) == ""
