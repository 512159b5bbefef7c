import pytest

from recommender.sources import Source


@pytest.fixture
def read(tmp_path):
    def read_front(front, name="a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(f"{front}\nThe tram stops at the mill.\n", encoding="utf-8")
        (entry,) = Source(tmp_path)
        return entry

    return read_front


@pytest.mark.parametrize(
    ("front", "section", "tags"),
    [
        ("categories: [[News, City], [Rail]]\ntags: [[a, b], c]", "News", ("a", "b", "c")),
        ("categories:\n- - News\n  - City\ntags: a, b", "News", ("a", "b")),
        ("categories: News, City\ntags: a", "News", ("a",)),
        ("category: News, City", "News, City", ()),
        ("taxonomies:\n  categories: [News]\n  tags: [a, b]", "News", ("a", "b")),
        ("taxonomy:\n  category: News\n  tag: [a, b]", "News", ("a", "b")),
        ("taxonomies:\n  tags: [b]\ntags: [a]", None, ("a",)),
        ("categories:\n- name: News\n  slug: n\ntags: [{name: a}, {slug: b}, {x: c}]", "News", ("a", "b")),
        ("category: {title: News}\ntags: 2021", "News", ("2021",)),
        ("tags: [2021, 3.10, 007, yes, true, null, a, a]", None, ("2021", "3.10", "007", "yes", "true", "a")),
        ("tags:\ncategories:", None, ()),
        ("tags: ~\ncategories: []", None, ()),
    ],
)
def test_taxonomies_in_any_shape(read, front, section, tags):
    entry = read(f"---\ntitle: Tram\n{front}\n---")
    assert (entry.article.section, entry.article.tags) == (section, tags)
    assert not entry.problems


def test_taxonomies_of_zola(read):
    article = read('+++\ntitle = "Tram"\n[taxonomies]\ncategories = ["News"]\ntags = ["a", "b"]\n+++').article
    assert (article.section, article.tags) == ("News", ("a", "b"))


@pytest.mark.parametrize(
    ("front", "date"),
    [
        ("date: Last Modified", None),
        ("date: git Created\ncreated: 2021-03-05", "2021-03-05"),
        ("date: 2021-02-30\ncreated_at: 2021-03-05", "2021-03-05"),
        ("published: 2021-03-05\ndate: 2020-01-01", "2021-03-05"),
        ("published: true\ndate: 2021-03-05", "2021-03-05"),
        ("date: {created: 2021-03-05, updated: 2022-01-01}", "2021-03-05"),
        ("pubDatetime: 2021-03-05T10:00:00Z", "2021-03-05"),
        ("publication_date: 5 mars 2021", "2021-03-05"),
        ("updated: 2021-03-05", None),
    ],
)
def test_the_first_date_that_can_be_read_is_the_publication_date(read, front, date):
    entry = read(f"---\ntitle: Tram\n{front}\n---")
    assert (entry.article.published and entry.article.published.date().isoformat()) == date
    assert not entry.problems


@pytest.mark.parametrize(
    ("front", "recommend"),
    [
        ("unlisted: true", False),
        ("build:\n  list: never", False),
        ("_build: {render: always, list: local}", False),
        ("eleventyExcludeFromCollections: true", False),
        ("unlisted: true\nrecommend: true", True),
        ("build: {list: always}", True),
        ("unlisted: false", True),
    ],
)
def test_a_page_that_its_site_lists_nowhere_is_in_no_block(read, front, recommend):
    assert read(f"---\ntitle: Tram\n{front}\n---").article.recommend is recommend


def test_a_date_that_no_calendar_has_is_reported(read):
    entry = read("---\ntitle: Tram\ndate: 2021-02-30\n---")
    assert (entry.article.title, entry.article.published) == ("Tram", None)
    assert "'2021-02-30'" in entry.problems[0]


@pytest.mark.parametrize("title", ["12:30", "007", "3.10", "yes", "No", "1984", "2021-03-05", "1e3", "0x1F", "True"])
def test_a_title_is_as_its_author_wrote_it(read, title):
    assert read(f"---\ntitle: {title}\n---").article.title == title
