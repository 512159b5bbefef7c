import json

import pytest

from recommender.sources import Source
from recommender.sources.record import record_entry
from recommender.sources.status import publication_status

EXCLUDED = {
    "unpublished": [
        {"publish": False}, {"publish": "no"}, {"Draft": "true"}, {"status": "WIP"}, {"private": True},
        {"status": "In progress"}, {"headless": True}, {"trashed": 1}, {"post_status": "trash"}, {"isDraft": "yes"},
    ],
    "expired": [
        {"expiryDate": "2020-03-05"}, {"expires_at": 1500000000}, {"unpublish_on": "5 March 2020"},
        {"metadata": {"expiryDate": "2020-03-05T10:00:00Z"}},
    ],
    "scheduled": [
        {"embargo": "2999-03-05"}, {"publishAt": "2999-03-05", "published": "2021-03-05"},
        {"scheduled_for": "5 March 2999"},
    ],
    "private": [
        {"password": "oak"}, {"post_password": 1234}, {"visibility": "Private"}, {"visibility": "password"},
        {"password_protected": "1"},
    ],
    "without a page": [
        {"build": {"render": "never"}}, {"_build": {"render": "link", "list": "never"}}, {"build": {"render": False}},
        {"permalink": False}, {"render": False},
    ],
    "attachment": [{"post_type": "attachment"}, {"type": "Attachment"}],
    "comment": [{"type": "comment"}, {"kind": "comment"}],
    "template": [{"content_type": "template"}],
    "nav menu item": [{"post_type": "nav_menu_item"}],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "fields"), [(reason, item) for reason, items in EXCLUDED.items() for item in items])
def test_a_record_that_readers_cannot_see_is_excluded_with_its_reason(reason, fields):
    entry = record_entry("x:1", {"id": "a", "title": "T", **fields})
    assert (entry.article, entry.id, entry.excluded) == (None, "a", reason)
    assert entry.problems[0].startswith("its ")


@pytest.mark.parametrize(
    "fields",
    [
        {"publish": True}, {"publish": "2021-03-05"}, {"expiryDate": "2999-01-01"}, {"expires": ""},
        {"expires": "never"}, {"expires_at": "0001-01-01T00:00:00Z"}, {"password": ""},
        {"password": None}, {"password": False},
        {"visibility": "public"}, {"visibility": "members"}, {"visibility": "paid"}, {"status": "sent"},
        {"build": {"render": "always", "list": "never"}}, {"build": "42"}, {"permalink": "/a/"}, {"render": True},
        {"type": "post"}, {"type": "template"}, {"kind": "settings"}, {"post_type": "page"}, {"status": "Done"},
        {"publish_at": "2999-03-05", "published": "2999-03-05"}, {"publish_at": "2021-03-05"}, {"embargo": ""},
        {"headless": False}, {"private": "no"},
    ],
)  # fmt: skip
def test_a_record_that_readers_can_see_is_taken_with_its_fields(fields):
    entry = record_entry("x:1", {"id": "a", "title": "T", **fields})
    assert (entry.excluded, entry.article.id) == ("", "a")
    assert not entry.problems


def test_the_readers_of_an_article_stay_a_field_to_filter_by():
    article = record_entry("x:1", {"id": "a", "title": "T", "visibility": "members", "status": "sent"}).article
    assert (article.metadata["visibility"], article.metadata["status"]) == ("members", "sent")


def test_a_password_is_not_printed():
    assert "oak" not in publication_status({"password": "oak"}).clause


@pytest.mark.parametrize("name", ["a.md", "a.json", "a.csv"])
def test_every_reader_excludes_them(tmp_path, name):
    text = {
        "a.md": "---\nid: a\ntitle: T\nexpiryDate: 2020-03-05\n---\nText.\n",
        "a.json": json.dumps([{"id": "a", "title": "T", "expiryDate": "2020-03-05"}]),
        "a.csv": "id,title,expiryDate\na,T,2020-03-05\n",
    }[name]
    (tmp_path / name).write_text(text)
    (entry,) = Source(tmp_path / name)
    assert (entry.excluded, entry.id) == ("expired", "a")


@pytest.mark.parametrize(("date", "excluded"), [("2020-03-05T10:00:00Z", "expired"), ("2999-03-05T10:00:00Z", "")])
def test_a_page_that_declares_its_end(tmp_path, date, excluded):
    text = "The tram stops at the mill, where many people wait for it in the morning and in the evening. " * 5
    head = f'<title>Tram</title><meta property="article:expiration_time" content="{date}">'
    (tmp_path / "a.html").write_text(
        f"<html><head>{head}</head><body><article><h1>Tram</h1><p>{text}</p></article></body></html>"
    )
    (entry,) = Source(tmp_path)
    assert entry.excluded == excluded


def test_a_page_is_published_on_its_publication_date_if_that_is_in_the_future(tmp_path):
    (tmp_path / "a.md").write_text("---\ntitle: T\ndate: 2021-03-05\npublishDate: 2999-01-01\n---\nText.\n")
    (tmp_path / "b.md").write_text("---\ntitle: T\ndate: 2021-03-05\npublishDate: 2021-04-01\n---\nText.\n")
    years = [entry.article.published.isoformat()[:10] for entry in Source(tmp_path)]
    assert years == ["2999-01-01", "2021-03-05"]
