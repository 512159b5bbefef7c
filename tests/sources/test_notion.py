import pytest

from recommender.sources import Source

TRAM, BUS, DB = (
    "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "0f8e7d6c5b4a39281706f5e4d3c2b1a1",
    "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d",
)
TRAM_FILE, BUS_FILE = f"Rail {DB}/The tram {TRAM}.md", f"Rail {DB}/The bus {BUS}.md"


@pytest.fixture
def read(tmp_path):
    def read_export(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return {entry.article.id if entry.article else entry.id: entry for entry in Source(tmp_path)}

    return read_export


def test_properties_are_fields_and_ids_are_in_no_section(read):
    link = f"The%20bus%20{BUS}.md"
    pages = read(
        {
            TRAM_FILE: "# The tram\n\nCreated: March 5, 2021 10:00 AM\nTags: Rail, Old town\nStatus: Published\n"
            f"Author:\nRelated: The bus ({link})\n\n"
            f"The tram is back. See [the bus]({link}).\n\nNote: not a property.\n",
            BUS_FILE: "# The bus\n\nStatus: Draft\n\nThe bus stops.\n",
        }
    )
    assert pages[BUS_FILE].excluded == "unpublished"
    article = pages[TRAM_FILE].article
    assert (article.title, article.section, article.tags) == ("The tram", "Rail", ("Rail", "Old town"))
    assert article.published.isoformat() == "2021-03-05T10:00:00+00:00"
    assert article.text == "The tram is back. See the bus.\n\nNote: not a property."
    assert (article.related, article.url) == ((BUS_FILE,), None)


def test_a_url_is_the_id_that_links_lead_to(read):
    pages = read(
        {
            f"Posts {DB}/The tram {TRAM}.md": f"# The tram\n\nText, [bus](The%20bus%20{BUS}.md).\n",
            f"Posts {DB}/The bus {BUS}.md": "# The bus\n\nURL: https://rail.example/bus\n\nThe bus.\n",
        }
    )
    article = pages[f"Posts {DB}/The tram {TRAM}.md"].article
    assert (article.links, article.section) == (("https://rail.example/bus",), None)


@pytest.mark.parametrize(
    ("line", "date"),
    [
        ("Date: @March 5, 2021", "2021-03-05"),
        ("Date: March 5, 2021 → March 7, 2021", "2021-03-05"),
        ("Publish Date: 2021/03/05", "2021-03-05"),
        ("Created time: March 5, 2021 10:00 AM", "2021-03-05"),
        ("Last edited: March 5, 2021", None),
    ],
)
def test_dates(read, line, date):
    (entry,) = read({f"The tram {TRAM}.md": f"# The tram\n\n{line}\n\nText.\n"}).values()
    assert (entry.article.published and entry.article.published.date().isoformat()) == date


@pytest.mark.parametrize(
    ("line", "excluded"),
    [
        ("Published: No", "unpublished"),
        ("Published: Yes", ""),
        ("Status: In progress", "unpublished"),
        ("Status: Done", ""),
    ],
)
def test_published_or_not(read, line, excluded):
    (entry,) = read({f"The tram {TRAM}.md": f"# The tram\n\n{line}\n\nText.\n"}).values()
    assert entry.excluded == excluded


@pytest.mark.parametrize("name", [f"The tram {TRAM}.md", "The tram.md"])
def test_prose_is_no_property(read, name):
    text = "# The tram\n\nNote: the tram\nis back.\n"
    (entry,) = read({name: text}).values()
    assert entry.article.text == "Note: the tram is back."


def test_properties_belong_to_notion_only(read):
    (entry,) = read({"The tram.md": "# The tram\n\nNote: the tram is back.\n"}).values()
    assert entry.article.text == "Note: the tram is back."


def test_html(read):
    page = (
        '<html><body><article id="x" class="page sans"><header><h1 class="page-title">The tram</h1>'
        '<table class="properties">'
        "<tbody><tr><th>Created</th><td><time>@March 5, 2021 10:00 AM</time></td></tr><tr><th>Tags</th><td>"
        '<span class="selected-value select-value-color-blue">Rail</span><span class="selected-value">Old</span>'
        "</td></tr>"
        '<tr><th>Published</th><td><div class="checkbox checkbox-%s"></div></td></tr></tbody></table></header>'
        '<div class="page-body"><p>The tram is back.</p></div></article></body></html>'
    )
    pages = read({f"Rail {DB}/The tram {TRAM}.html": page % "on", f"Rail {DB}/The bus {BUS}.html": page % "off"})
    article = pages[f"Rail {DB}/The tram {TRAM}.html"].article
    assert (article.title, article.text, article.tags) == ("The tram", "The tram is back.", ("Rail", "Old"))
    assert (article.published.date().isoformat(), article.section) == ("2021-03-05", "Rail")
    assert pages[f"Rail {DB}/The bus {BUS}.html"].excluded == "unpublished"
