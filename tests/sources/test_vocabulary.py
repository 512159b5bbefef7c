import pytest

from recommender.sources.vocabulary import fold_name, suggest_fields


@pytest.mark.parametrize(
    ("names", "suggested"),
    [
        (["nr", "headline", "body"], {"id": "nr", "title": "headline", "text": "body"}),
        (["Post ID", "post_title", "postContent"], {"id": "Post ID", "title": "post_title", "text": "postContent"}),
        (["_id.$oid", "Überschrift", "Inhalt"], {"id": "_id.$oid", "title": "Überschrift", "text": "Inhalt"}),
        (
            ["slug", "titre", "corps", "rubrique"],
            {"id": "slug", "title": "titre", "text": "corps", "section": "rubrique"},
        ),
        (["guid", "タイトル", "本文"], {"id": "guid", "title": "タイトル", "text": "本文"}),
        (["permalink", "name"], {"id": "permalink", "title": "name", "url": "permalink"}),
        (["title.rendered", "content.rendered"], {"title": "title.rendered", "text": "content.rendered"}),
        (["attributes.title", "attributes.body.value"], {"title": "attributes.title", "text": "attributes.body.value"}),
        (["summary", "content", "headline"], {"text": "content", "title": "headline"}),
        (["author_id", "category_id"], {}),
        (["author_id", "artikelid"], {"id": "artikelid"}),
        (["Title", "ID", "TEXT"], {}),
        (["keywords", "lang", "pubDate"], {"tags": "keywords", "language": "lang", "published": "pubDate"}),
        ([], {}),
    ],
)
def test_similar_field_names_are_suggested(names, suggested):
    missing_fields = ("id", "title", "text", "url", "published", "section", "tags", "language")
    assert suggest_fields(names, missing_fields) == suggested


def test_only_missing_fields_are_suggested():
    assert suggest_fields(["headline", "body"], ["text"]) == {"text": "body"}


@pytest.mark.parametrize("names", ["Veröffentlicht am", "veroffentlicht_am", "VERÖFFENTLICHT-AM"])
def test_folded_names(names):
    assert fold_name(names) == "veroffentlichtam"
