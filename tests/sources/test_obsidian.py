import pytest

from recommender.sources import Source


@pytest.fixture
def read(tmp_path):
    def read_vault(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        entries = list(Source(tmp_path))
        assert not [entry.problems for entry in entries if entry.article and entry.problems]
        return {entry.article.id if entry.article else entry.id: entry for entry in entries}

    return read_vault


TRAM = "---\naliases: [Line 4, Die Vier]\n---\nThe tram is yellow.\n"


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("[[Old Tram]]", "Old Tram"),
        ("[[old tram]]", "old tram"),
        ("[[Old Tram#History]]", "Old Tram > History"),
        ("[[Old Tram#History#Start]]", "Old Tram > History > Start"),
        ("[[Old Tram#^block]]", "Old Tram > ^block"),
        ("[[Old Tram|it]]", "it"),
        ("[[Old Tram#History|its past]]", "its past"),
        ("[[Rail/Old Tram]]", "Rail/Old Tram"),
        ("[[rail/old tram|it]]", "it"),
        ("[[Old Tram.md|it]]", "it"),
        ("[[Line 4]]", "Line 4"),
        ("[[die vier|it]]", "it"),
        ("[it](../Rail/Old%20Tram.md#History)", "it"),
    ],
)
def test_links_by_name_path_and_alias(read, link, text):
    note = read({"Rail/Old Tram.md": TRAM, "Places/Mill.md": f"Take {link} there.\n"})["Places/Mill.md"].article
    assert (note.links, note.text) == (("Rail/Old Tram.md",), f"Take {text} there.")


def test_a_link_in_a_table_and_one_to_a_part_of_the_same_note(read):
    body = "| line |\n|---|\n| [[Old Tram\\|it]] |\n\nSee [[#History]] and [[#History|this]].\n"
    note = read({"Rail/Old Tram.md": TRAM, "a.md": body})["a.md"].article
    assert note.links == ("Rail/Old Tram.md",)
    assert (note.text, note.tags) == ("line\nit\n\nSee History and this.", ())


def test_a_missing_note_stays_a_title_and_the_note_in_the_shortest_folder_wins(read):
    notes = read(
        {"x/y/Mill.md": "Deep.", "x/Mill.md": "Flat.", "a/b.md": "[[Mill]], [[v1.0 plan]] and [[Missing Note]]."}
    )
    assert notes["a/b.md"].article.links == ("x/Mill.md", "v1.0 plan", "Missing Note")


@pytest.mark.parametrize("value", ['"[[Old Tram]]"', "[[Old Tram]]", '["[[Line 4|four]]"]', '\n  - "[[old tram]]"'])
def test_links_in_properties(read, value):
    notes = read(
        {"Rail/Old Tram.md": TRAM, "a.md": f"---\nrelated: {value}\n---\nA.", "b.md": f"---\nup: {value}\n---\nB."}
    )
    assert notes["a.md"].article.related == ("Rail/Old Tram.md",)
    assert notes["b.md"].article.links == ("Rail/Old Tram.md",)


def test_comments_fields_tags_and_marks_are_not_text(read):
    body = (
        "---\ntags:\n  - '#rail'\n---\nThe [[Old Tram]] is %% hidden %% yellow. #rail #place/mill\n\n"
        "%%\nA hidden\n\nparagraph.\n%%\n\nmood:: good\nrating::\n- owner:: [[Ann]]\n\n"
        "It has [doors:: four doors] and (seats:: 40) "
        "==many seats==. ^seats\n\n> [!warning]- Mind the step\n> It is high.\n\n- [ ] paint it\n- [x] wash it\n\n"
        "Issue #12, C#, a#b and `#code` stay, `%% code %%` and std::move too. 100 %%.\n"
    )
    note = read({"a.md": body, "Old Tram.md": TRAM})["a.md"].article
    assert note.text == (
        "The Old Tram is yellow.\n\nIt has four doors and many seats.\n\nMind the step It is high.\n"
        "paint it\nwash it\n\n"
        "Issue #12, C#, a#b and #code stay, %% code %% and std::move too. 100 %%."
    )
    assert note.tags == ("rail", "place/mill")
    assert {name: note.metadata[name] for name in ("mood", "rating", "owner", "doors", "seats")} == {
        "mood": "good", "rating": "", "owner": "[[Ann]]", "doors": "four doors", "seats": "40",
    }  # fmt: skip


def test_the_notation_of_a_vault_is_text_elsewhere(read):
    body = "Write term:: meaning, %% per cent %% and #hash or ==equal==.\n\nterm:: meaning\n"
    assert "term:: meaning, %% per cent %% and #hash or ==equal==" in read({"a.md": body})["a.md"].article.text


def test_a_folder_with_settings_of_obsidian_is_a_vault(read, tmp_path):
    (tmp_path / ".obsidian").mkdir()
    notes = read(
        {"notes/a.md": "The tram. %% hidden %% #rail\n\npublish:: false\n", "b.md": "A mill. %% hidden %% #mill"}
    )
    assert notes["notes/a.md"].excluded == "unpublished"
    assert (notes["b.md"].article.text, notes["b.md"].article.tags) == ("A mill.", ("mill",))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ('"#rail"', ("rail",)),
        ('"#rail #mill"', ("rail", "mill")),
        ("rail, mill", ("rail", "mill")),
        ("['#rail', mill]", ("rail", "mill")),
    ],
)
def test_tags_lose_their_sign(read, tags, expected):
    assert read({"a.md": f"---\ntags: {tags}\n---\nA."})["a.md"].article.tags == expected


@pytest.mark.parametrize(
    ("name", "date", "title"),
    [
        ("2021-03-10.md", "2021-03-10", "2021-03-10"),
        ("2021-03-10 A ride.md", "2021-03-10", "A ride"),
        ("20210310.md", "2021-03-10", "20210310"),
        ("202103101530 A ride.md", "2021-03-10", "A ride"),
        ("2021-13-10.md", None, "2021 13 10"),
        ("20211310.md", None, "20211310"),
        ("2021031.md", None, "2021031"),
        ("202103101.md", None, "202103101"),
    ],
)
def test_a_daily_note_has_the_date_of_its_name(read, name, date, title):
    note = read({f"Daily/{name}": "Rode to the mill."})[f"Daily/{name}"].article
    assert (note.published and note.published.date().isoformat(), note.title) == (date, title)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\ndate: {{date}}\ntags: []\n---\n# Note\n", "template"),
        ("---\ntitle: '{{title}}'\n---\nText.\n", "template"),
        ('---\ntitle: \'{{ replace .Name "-" " " | title }}\'\ndate: {{ .Date }}\n---\nText.\n', "template"),
        ("---\ntags: []\n---\n<% tp.file.title %> and text\n", "template"),
        ("---\nexcalidraw-plugin: parsed\n---\n# Text Elements\n", "drawing"),
        ("---\npublish: false\n---\nText.\n", "unpublished"),
    ],
)
def test_templates_drawings_and_private_notes_are_left_out(read, text, reason):
    entry = read({"a.md": text})["a.md"]
    assert (entry.article, entry.excluded) == (None, reason)
