import copy
import pickle
import re
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from ada_url import URL
from hypothesis import given
from hypothesis import strategies as st

from recommender import Article, ArticleError
from recommender.article import as_id
from recommender.text.clean import normalise_title
from recommender.text.urls import normalise_url, web_url

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_missing_title_becomes_first_sentence():
    article = Article(id="a", text="Maj. Gen. Smith of the U.N. met the press.\nHe said little. Then he left.")
    assert article.title == "Maj. Gen. Smith of the U.N. met the press."


def test_long_first_sentence_is_cut_between_words():
    title = Article(id="a", text="word " * 200).title
    assert len(title) <= 301
    assert title.endswith("word…")


@pytest.mark.parametrize("fields", [{"id": ""}, {"id": "  ", "text": "x"}, {"id": "a"}, {"id": "a", "title": " \n"}])
def test_an_article_needs_an_id_and_a_title_or_a_text(fields):
    with pytest.raises(ArticleError):
        Article(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"title": 3}, {"tags": "a,b"}, {"tags": [1]}, {"tags": None}, {"tags": 5}, {"tags": b"a"}, {"tags": {"a": 1}},
        {"related": None}, {"links": 5}, {"published": "2021-01-01"}, {"metadata": {"a": {1}}}, {"metadata": None},
    ],
)  # fmt: skip
def test_wrong_types_are_refused_with_the_id(fields):
    with pytest.raises(ArticleError, match="'a'"):
        Article(**{"id": "a", "title": "t", **fields})


def test_list_fields_accept_any_iterable_of_texts():
    for values in (["x", "y"], ("x", "y"), (text for text in ("x", "y")), dict.fromkeys(("x", "y")).keys()):
        assert Article(id="a", title="t", tags=values).tags == ("x", "y")


def test_an_article_is_immutable():
    article = Article(id="a", title="t", metadata={"x": [1]})
    with pytest.raises(FrozenInstanceError):
        article.title = "u"  # type: ignore[misc]
    with pytest.raises(TypeError):
        article.metadata["x"] = 2  # type: ignore[index]


def test_an_article_can_be_copied_pickled_and_hashed():
    article = Article(id="a", title="t", tags=("x",), metadata={"x": [1]}, published=datetime(2021, 5, 17, tzinfo=UTC))
    assert copy.deepcopy(article) == article == pickle.loads(pickle.dumps(article))
    assert len({article, copy.copy(article)}) == 1


def test_content_hash_covers_title_and_text_alone():
    article = Article(id="a", title="t", text="x")
    assert article.content_hash == Article(id="b", title="t", text="x", tags=("y",), url="u").content_hash
    assert article.content_hash != Article(id="a", title="t", text="y").content_hash
    assert article.content_hash != Article(id="a", title="tx", text="").content_hash


def test_naive_dates_are_utc():
    assert Article(id="a", title="t", published=datetime(2021, 5, 17)).published == datetime(2021, 5, 17, tzinfo=UTC)


def test_characters_that_utf8_cannot_encode_are_replaced():
    article = Article(id="a\x00", title="t\ud800", metadata={"k": "\udfff"})
    assert (article.id, article.title, article.metadata["k"]) == ("a", "t\ufffd", "\ufffd")


def test_from_record_keeps_unknown_keys_and_uses_the_url_as_id():
    article, notes = Article.from_record(
        {"url": "https://x.org/1", "title": "t", "image": {"src": "i.png"}, "words": 3}
    )
    assert (article.id, article.metadata, notes) == ("https://x.org/1", {"image": {"src": "i.png"}, "words": 3}, [])


def test_from_record_accepts_the_types_of_exports():
    record = {"id": 17, "title": 1984, "tags": "oil, gas", "related": "b", "published": 1431234567, "section": None}
    article, notes = Article.from_record(record)
    assert (article.id, article.title, article.tags, article.related) == ("17", "1984", ("oil", "gas"), ("b",))
    assert article.published == datetime(2015, 5, 10, 5, 9, 27, tzinfo=UTC)
    assert notes == []


def test_objects_in_lists_are_replaced_by_their_names_ids_and_urls():
    record = {
        "id": "a", "title": "t", "tags": [{"id": 3, "name": "Sea"}, {"id": 4, "slug": "port"}, "oil"],
        "related": [{"id": 7, "title": "B"}, {"url": "/c/", "title": "C"}], "links": [{"href": "/d/"}],
    }  # fmt: skip
    article, notes = Article.from_record(record)
    assert (article.tags, article.related, article.links, notes) == (("Sea", "port", "oil"), ("7", "/c/"), ("/d/",), [])
    article, notes = Article.from_record({"id": "a", "title": "t", "tags": [{"colour": "red"}]})
    assert article.tags == ()
    assert "tags" in notes[0]


def test_from_record_reports_the_fields_that_it_leaves_out():
    record = {"id": "a", "title": "t", "published": "soon", "tags": {"x": 1}, "section": ["y"]}
    article, notes = Article.from_record(record)
    assert (article.published, article.tags, article.section) == (None, (), None)
    assert [note.split(" ")[1] for note in notes] == ["date", "tags", "section"]


@given(st.dictionaries(st.sampled_from(["id", "title", "text", "url", "tags", "published", "related", "x"]), JSON))
def test_every_record_gives_an_article_or_an_error(record):
    try:
        article, _ = Article.from_record(record)
    except ArticleError as error:
        assert str(error)
    else:
        again, notes = Article.from_record(article.to_record())
        assert again == article
        assert notes == []


def test_urls_of_one_page_are_normalised_alike():
    assert len({normalise_url(u) for u in ("http://X.org/a/", "https://x.org/a#top", " https://x.org/a")}) == 1
    assert normalise_url("https://x.org/a?id=1") != normalise_url("https://x.org/a?id=2")
    assert normalise_url("Moscow sends proposals") is None


def test_titles_are_normalised_regardless_of_quotes_and_case():
    assert normalise_title("“Fans” buy the club!") == normalise_title("FANS' buy  the Club")
    assert normalise_title("…") is None


@pytest.mark.parametrize(
    "url", ["https://example.org/a?b=c#d", "http://x.org", "/a/b.html", "a/b", "?page=2", "HTTPS://X.org/", "/a:b",
            "./a:b", "/a//b", "/a b/", "http://[::1]:8000/", "https://bücher.example/ä?x=a@b", "/مقاله\u200cها/"]
)  # fmt: skip
def test_web_urls_and_relative_urls_are_kept(url):
    article, notes = Article.from_record({"id": "a", "title": "T", "url": url})
    assert (article.url, notes) == (url, [])
    assert web_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", " JavaScript:alert(1)", "java\nscript:alert(1)", "\x01javascript:x", "vbscript:x",
        "\u200bjavascript:x", "java\u200bscript:x", "\ufeffjavascript:x", "\u3164javascript:x", "\u00a0javascript:x",
        "java script:x", "javascript&colon;x", "jav&#97;script:x", "data:text/html,x", "file:///etc/passwd", "a:b",
        "//x.org/a", "/\\x.org", "\\/x.org", "\\\\x.org", "/\t/x.org", "\t//x.org", "///x.org", "/&#47;x.org",
        "/\u200b/x.org",
        "https:x.org", "https:/x.org", "https:///x.org", "https:\\\\x.org", "https:\\/x.org", "https://", "https://[x",
        "https://y.org@x.org/", "https://y:z@x.org/", "https://y.org\\@x.org/", "https://x y.org", "\ufeffhttps://x.org",
    ],
)  # fmt: skip
def test_other_urls_are_left_out_and_reported(url):
    article, (note,) = Article.from_record({"id": "a", "title": "T", "url": url})
    assert article.url is None
    assert "url" in note
    assert web_url(url) is None


@given(st.from_regex(r"\A(https?|HTTP|ftp)?(://)?([a-zA-Z0-9.:-]{0,8})(/[a-z./~%?#é-]{0,12})?\Z"))
def test_the_fast_path_normalises_plain_urls_alike(url):
    quickly = normalise_url.__wrapped__(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recommender.text.urls._PLAIN_URL", re.compile("never"))
        assert normalise_url.__wrapped__(url) == quickly


SITE = "https://site.example/section/page.html"
pieces = st.sampled_from(
    [
        "javascript:", "data:", "http:", "https:", "HTTPS://", "//", "/", "\\", "x.org", "y@", ":", "@", "?", "#",
        "%2f", "..", "a", "é", " ", "\t", "\n", "\x00", "\x1f", "\u200b", "\ufeff", "\u00a0", "&#47;", "&colon;", "[",
        "]", "。",
    ]
)  # fmt: skip


@given(st.lists(pieces, max_size=6).map("".join) | st.text(max_size=12))
def test_browsers_resolve_accepted_urls_to_the_site_or_the_web(url):
    accepted = web_url(url)
    if accepted is None:
        return
    try:
        resolved = URL(accepted, base=SITE)
    except ValueError:  # an impossible host
        assert re.match("https?://", accepted, re.I)
        return
    assert (resolved.username, resolved.password) == ("", "")
    if re.match("https?://", accepted, re.I):
        assert resolved.protocol in ("http:", "https:")
    else:
        assert resolved.origin == "https://site.example"


def test_links_can_be_numbers():
    article = Article(id=7, title="t", related=(8, "9", 8), links=iter([10]))
    assert (article.id, article.related, article.links) == ("7", ("8", "9"), ("10",))
    for wrong in ({"related": (True,)}, {"links": (1.5,)}, {"tags": (1,)}, {"related": 8}, {"id": 7.0}, {"id": True}):
        with pytest.raises(ArticleError):
            Article(**{"id": "a", "title": "t", **wrong})


LONG_NUMBER = 10**5000  # Python does not convert it to text


@pytest.mark.parametrize("name", ["title", "text", "url", "published", "tags", "related", "recommend", "section"])
def test_a_too_long_number_leaves_only_its_field_empty(name):
    value = [LONG_NUMBER] if name in ("tags", "related") else LONG_NUMBER
    record = {"id": "a", "title": "t", "text": "words", name: value}
    if name == "recommend":  # a field of the archive with another meaning
        with pytest.raises(ArticleError, match="not JSON"):
            Article.from_record(record)
        return
    article, notes = Article.from_record(record)
    assert article.id == "a"
    assert len(notes) == 1
    assert f"its {name.removeprefix('published') or 'date'}" in notes[0]


def test_a_too_long_number_is_refused_as_id():
    with pytest.raises(TypeError, match="too long"):
        as_id(LONG_NUMBER)
    with pytest.raises(ArticleError, match="neither an id nor a url"):
        Article.from_record({"id": LONG_NUMBER, "title": "t"})


def test_an_empty_item_of_a_list_is_skipped():
    article, notes = Article.from_record(
        {"id": "a", "title": "t", "tags": ["x", None, 3], "related": [None, {"id": 7}]}
    )
    assert (article.tags, article.related, notes) == (("x", "3"), ("7",), [])
