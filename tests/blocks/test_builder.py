"""Blocks on a real index: filters, pins, bans, rules, dates, reasons. Where many articles are needed, given vectors."""

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recommender import Article, ArticleNotFoundError, IndexDamagedError, PolicyError, Recommender
from recommender.blocks.policy import Policy
from recommender.filters import as_where, facets, matches
from recommender.ranking.matching import display_scale

DAY = datetime(2026, 6, 1, tzinfo=UTC)
SECTIONS = ["World", "Deaths", "Quiz", "Sport", None]
MANY = 1400  # past what is always searched whole


def made(number):
    draw = random.Random(number)
    topic = number % 20
    words = " ".join(f"word{draw.randrange(200)} topic{topic}" for _ in range(8))
    return Article(
        id=f"{number:04}",
        title=f"topic{topic} story {number}",
        text=f"topic{topic} {words} number{number}",
        published=DAY - timedelta(days=draw.randrange(-20, 400)) if number % 7 else None,
        section=SECTIONS[number % 5],
        tags=tuple(f"tag{n}" for n in draw.sample(range(6), 2)),
        language="en",
        recommend=number % 50 != 3,
        metadata={
            "half": number % 2,
            "hundredth": f"h{number % 100}",
            "few": "yes" if number in (5, 606, 1207) else "no",
        },
    )


ARTICLES = {article.id: article for article in map(made, range(MANY))}


@pytest.fixture(scope="module")
def large(tmp_path_factory, with_given_vectors):
    with Recommender(tmp_path_factory.mktemp("large") / "index") as rec:
        with with_given_vectors():
            rec.build(list(ARTICLES.values()))
        yield rec


@pytest.fixture
def ids():
    return lambda block: [link.id for link in block]


BARE = {"copies": False, "floor": False, "now": DAY}


def may_stand(article, subject, now=DAY):
    return article.id != subject.id and article.recommend and not (article.published and article.published > now)


@pytest.mark.parametrize("k", [1, 3, 40, 500])
@pytest.mark.parametrize(
    "where", [{"half": 0}, {"hundredth": "h7"}, {"few": "yes"}, {"half": 1, "section": ["World", "Quiz"]}]
)
def test_k_links_come_back_where_k_exist(large, where, k):
    subject = ARTICLES["0021"]
    options = {"where": {name: value for name, value in where.items() if name != "section"}, **BARE}
    if "section" in where:
        options["section"] = where["section"]
    block = large.related("0021", k, **options)
    exist = [a for a in ARTICLES.values() if may_stand(a, subject) and matches(as_where(where), a)]
    assert len(block) == min(k, len(exist))
    assert {link.id for link in block} <= {a.id for a in exist}
    assert len({link.id for link in block}) == len(block)


def test_a_filter_leaves_the_best_of_those_that_it_lets_through(large, ids):
    everything = large.related("0021", MANY, variety=0.0, **BARE)
    for where in ({"half": 0}, {"hundredth": "h7"}):
        wanted = [link.id for link in everything if matches(as_where(where), ARTICLES[link.id])]
        found = ids(large.related("0021", 10, variety=0.0, where=where, **BARE))
        assert len(set(found) & set(wanted[:10])) >= 9  # candidates of a large share are approximate


options = st.fixed_dictionaries(
    {},
    optional={
        "section": st.lists(st.sampled_from(["World", "Deaths", "Nothing"]), min_size=1, max_size=2),
        "tags": st.lists(st.sampled_from(["tag1", "tag2"]), min_size=1),
        "where": st.dictionaries(
            st.sampled_from(["half", "hundredth"]), st.sampled_from([0, 1, "h3", "h4"]), max_size=1
        ),
        "after": st.sampled_from(["2025-09-01", "2026-05-25"]),
        "before": st.sampled_from(["2026-01-01", "2026-06-10"]),
        "max_age": st.sampled_from(["20d", "6m", "2y"]),
        "age_from": st.sampled_from(["today", "article"]),
        "not_newer": st.booleans(),
        "sections": st.sampled_from(["any", "same", "other"]),
        "exclude": st.lists(st.sampled_from(sorted(ARTICLES)[:60]), max_size=3),
        "editorial": st.sampled_from(["first", "only", "ignore"]),
        "variety": st.sampled_from([0.0, 0.1, 0.9]),
        "half_life": st.sampled_from([None, 3.0, 300.0]),
        "fill": st.sampled_from(["none", "recent", "section"]),
        "floor": st.booleans(),
        "copies": st.booleans(),
        "now": st.sampled_from([DAY, DAY - timedelta(days=100), DAY + timedelta(days=40)]),
    },
)
numbers = st.integers(0, MANY - 1)
some_ids = st.lists(numbers.map("{:04}".format), max_size=4, unique=True)
hands = st.fixed_dictionaries(
    {
        "pins": st.lists(numbers.map("{:04}".format), max_size=3, unique=True),
        "banned": some_ids,
        "partners": some_ids,
        "never": st.sampled_from([None, {"section": "Quiz"}, {"tags": "tag1"}]),
        "apart": st.sampled_from(
            [None, ({"section": "Deaths"}, {"section": ["Quiz", "Sport"]}), ({"half": 0}, {"half": 1})]
        ),
    }
)


def policy_of(id, hand):
    rules = []
    if hand["never"]:
        rules.append({"name": "never", "where": hand["never"], "never_recommended": True})
    if hand["apart"]:
        rules.append({"name": "apart", "where": hand["apart"][0], "never_with": hand["apart"][1]})
    return Policy.from_record(
        {
            "pins": {id: [pin for pin in hand["pins"] if pin != id]},
            "bans": {"articles": hand["banned"], "pairs": [[id, other] for other in hand["partners"] if other != id]},
            "rules": rules,
        }
    )


@hypothesis_settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(numbers, options, hands, st.sampled_from([1, 3, 10]), st.booleans())
def test_bans_rules_and_filters_hold_under_every_setting(large, number, chosen, hand, k, plain):
    """Checked against what the articles say, not against the store."""
    id = f"{number % 100 if plain else number:04}"  # `links` makes all blocks before one
    subject, policy = ARTICLES[id], policy_of(id, hand)
    large.load_policy(policy)
    try:
        block = large.related(id, k, **chosen)
        assert block == large.related(id, k, **chosen)
        if plain:
            every = large.links(k, plain=True, now=chosen.get("now", DAY))
            links = next(links for other, links in every if other == id)
            check(links, subject, hand, {"now": chosen.get("now", DAY)})
    finally:
        large.load_policy({})
    assert len(block) <= k
    check(block, subject, hand, chosen)


def check(block, subject, hand, chosen):
    now = chosen.get("now", datetime.now(UTC))
    since = subject.published or now
    for link in block:
        article = ARTICLES[link.id]
        assert may_stand(article, subject, now)
        assert link.id not in hand["banned"] + hand["partners"] + list(chosen.get("exclude", []))
        assert not (hand["never"] and matches(as_where(hand["never"]), article))
        if hand["apart"]:
            one, other = map(as_where, hand["apart"])
            assert not (matches(one, subject) and matches(other, article))
            assert not (matches(other, subject) and matches(one, article))
        if "section" in chosen:
            assert article.section in chosen["section"]
        if "tags" in chosen:
            assert set(article.tags) & set(chosen["tags"])
        if chosen.get("where"):
            assert matches(as_where(chosen["where"]), article)
        if chosen.get("sections") == "same":
            assert article.section == subject.section
        if chosen.get("sections") == "other" and subject.section:
            assert article.section != subject.section
        if "after" in chosen:
            assert article.published >= datetime.fromisoformat(chosen["after"]).replace(tzinfo=UTC)
        if "before" in chosen:
            assert article.published < datetime.fromisoformat(chosen["before"]).replace(tzinfo=UTC) + timedelta(days=1)
        if chosen.get("not_newer"):
            assert article.published <= since
        if "max_age" in chosen:
            from recommender.blocks.policy import Settings

            start = now if chosen.get("age_from", "today") == "today" else since
            assert article.published >= start - Settings().updated({"max_age": chosen["max_age"]}).age


@hypothesis_settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(options, st.integers(0, 4))
def test_blocks_begin_alike_in_links_and_related_and_for_every_length(large, chosen, start):
    chosen = {"now": DAY, **chosen}
    links = {}
    for id, block in large.links(10, **chosen):
        links[id] = block
        if len(links) == 40:
            break
    for id in list(links)[start::5]:
        assert links[id][:3] == large.related(id, 3, **chosen)
        assert links[id] == large.related(id, 10, **chosen)


def test_the_same_input_gives_the_same_bytes(large):
    from io import StringIO

    from recommender.publish import jsonl

    one, other = StringIO(), StringIO()
    jsonl.write(large.links(5, now=DAY), one)
    with Recommender(large.path) as again:
        jsonl.write(again.links(5, now=DAY), other)
    assert one.getvalue() == other.getvalue()


# The examples: real text and the real model's vectors.


@pytest.fixture
def examples(root, tmp_path):
    import shutil

    shutil.copytree(root / "index" / "examples", tmp_path / "examples")
    with Recommender(tmp_path / "examples") as rec:
        yield rec


THEFT = "culture/picture-framer-charged.txt"
CUT = "culture/thieves-cut-grauven-masterpiece.txt"
FERRY = "culture/police-follow-ferry-tickets.txt"
FAR = "sport/how-foundry-lane-was-mortgaged.txt"


def test_own_links_stand_first_and_are_filled_up(examples, ids):
    own = examples._store.links("related", [THEFT])[THEFT]
    assert len(own) == 3
    block = examples.related(THEFT, 5, floor=False)
    assert ids(block)[:3] == own
    assert [link.via for link in block] == ["editorial"] * 3 + ["match"] * 2
    assert ids(examples.related(THEFT, 9, editorial="only")) == own
    ignored = examples.related(THEFT, 9, editorial="ignore", floor=False)
    assert {link.via for link in ignored} == {"match"}
    scores = {link.id: link.score for link in ignored}
    assert all(link.score == scores[link.id] for link in block if link.id in scores)  # it never changes a score


def test_pins_come_first_count_and_change_no_score(examples, ids):
    before = {link.id: link.score for link in examples.related(THEFT, 9, floor=False, editorial="ignore")}
    examples.pin(THEFT, FAR, "not there yet")
    block = examples.related(THEFT, 3)
    assert ids(block)[0] == FAR
    assert [link.via for link in block] == ["pin", "editorial", "editorial"]
    assert examples.related(THEFT, 3, editorial="ignore")[1].score == before[CUT]
    examples.add([{"id": "not there yet", "title": "A title", "text": "Some words."}])
    assert ids(examples.related(THEFT, 3))[:2] == [FAR, "not there yet"]
    assert ids(dict(examples.links(3))[THEFT])[:2] == [FAR, "not there yet"]
    assert dict(examples.links(3, plain=True))[THEFT][0].via == "match"
    examples.unpin(THEFT)
    assert ids(examples.related(THEFT, 3)) == examples._store.links("related", [THEFT])[THEFT]


def test_bans_and_filters_go_before_pins_and_own_links(examples, ids):
    examples.pin(THEFT, FAR)
    examples.ban(CUT)
    assert CUT not in ids(examples.related(THEFT, 50, floor=False))
    assert CUT not in ids(examples.search("thieves cut a painting from its frame", 50))
    assert ids(examples.related(THEFT, 3, section="Culture"))[0] == FERRY
    assert FAR not in ids(examples.related(THEFT, 50, section="Culture", floor=False))
    examples.ban(THEFT, FERRY)
    assert FERRY not in ids(examples.related(THEFT, 50, floor=False))
    assert THEFT not in ids(examples.related(FERRY, 50, floor=False))
    examples.unban(CUT)
    examples.unban(FERRY, THEFT)
    assert {CUT, FERRY} < set(ids(examples.related(THEFT, 50, floor=False)))


def test_rules(examples, ids):
    examples.set_rule(
        {"name": "no sport under culture", "where": {"section": "Culture"}, "never_with": {"section": "Sport"}}
    )
    assert all(link.section != "Sport" for link in examples.related(THEFT, 70, floor=False))
    assert all(link.section != "Culture" for link in examples.related(FAR, 70, floor=False))
    examples.set_rule({"name": "mute", "where": {"section": "Sport"}, "no_block": True, "never_recommended": True})
    assert examples.related(FAR) == []
    assert dict(examples.links(3))[FAR] == []
    assert all(link.section != "Sport" for link in examples.search("football", 70))
    examples.remove_rule("mute")
    assert examples.related(FAR) != []
    with pytest.raises(PolicyError, match="mute"):
        examples.remove_rule("mute")


def test_fields_of_the_article_itself(rec, articles, ids):
    rec.add([replace(articles[0], block=False), replace(articles[1], recommend=False)])
    assert rec.related("dam-1", 9) == []
    assert rec.related("dam-2", 9) != []
    assert all("dam-2" not in ids(block) for _, block in rec.links(9))
    assert "dam-2" not in ids(rec.search("river dam"))
    assert rec.related(replace(articles[5], id="new", block=False)) == []


def test_the_policy_outlives_rebuilds_and_the_articles_absence(rec, articles, ids):
    rec.pin("dam-1", "club-1")
    rec.ban("dam-3")
    rec.configure(editorial="ignore", variety=0.0)
    rec.remove("club-1", "dam-3")
    rec.build(articles)
    with Recommender(rec.path) as again:
        block = ids(again.related("dam-1", 9))
        assert block[0] == "club-1"
        assert "dam-3" not in block
        assert again.policy.settings.changed() == {"editorial": "ignore", "variety": 0.0}
        assert again.info()["policy"]["bans"]["articles"] == ["dam-3"]


def test_the_policy_can_be_changed_while_a_build_runs(rec, articles, ids):
    with rec._store.write_lock(), Recommender(rec.path) as editor:  # what a build holds from its beginning to its end
        editor.pin("dam-1", "club-1")
        assert ids(editor.related("dam-1"))[0] == "club-1"
    assert ids(rec.related("dam-1"))[0] == "club-1"


def test_the_policy_can_be_changed_while_search_files_are_made(rec, monkeypatch):
    monkeypatch.setattr("recommender.store.local.signal_reader.PAGE_ROWS", 2)
    monkeypatch.setattr("recommender.store.local.database.BUSY_SECONDS", 0.1)
    store = rec._store
    with store.write_lock(), Recommender(rec.path) as editor:
        with store._session() as session:
            signals = session.revision.signals(session.connection)
        for rows in (signals.vectors_after, signals.weighted_terms_after):
            pages = rows(store._writer._connection(), 0)
            next(pages)
            editor.pin("dam-1", "club-1")
            assert sum(1 for _ in pages) == 2


def test_stored_settings_hold_in_every_call_and_options_override_them(examples, ids):
    examples.configure(editorial="ignore", section=["Sport"])
    assert {link.section for link in examples.related(THEFT, 2, floor=False)} == {"Sport"}
    assert {link.section for _, block in examples.links(2, floor=False) for link in block} == {"Sport"}
    assert {link.section for link in examples.related(THEFT, 2, section=[])} == {"Culture"}
    assert {link.section for link in examples.search("a stolen painting", 3)} != {"Sport"}
    with pytest.raises(PolicyError, match="colour"):
        examples.related(THEFT, colour="red")
    with pytest.raises(PolicyError, match="now"):
        examples.configure(now="2026-01-01")


def test_links_in_the_body_can_be_left_out(rec, articles, ids):
    rec.add([replace(articles[0], links=("https://example.org/dam-2", "Treaty on shared river signed"))])
    assert {"dam-2", "dam-3"} < set(ids(rec.related("dam-1", 9)))
    assert not {"dam-2", "dam-3"} & set(ids(rec.related("dam-1", 9, body_links=False)))
    given = replace(articles[0], id="new", url=None, links=("dam-2",))
    assert "dam-2" not in ids(rec.related(given, 9, body_links=False))


def test_articles_of_the_future_are_withheld_until_then(rec, articles, ids):
    rec.add([replace(articles[1], published=DAY)])
    before, after = DAY - timedelta(seconds=1), DAY
    assert "dam-2" not in ids(rec.related("dam-1", 9, now=before))
    assert "dam-2" in ids(rec.related("dam-1", 9, now=after))
    assert "dam-2" not in ids(rec.search("river dam", now=before))
    assert "dam-2" not in ids(dict(rec.links(9, now=before, plain=True))["dam-1"])
    rec.pin("dam-1", "dam-2")
    assert "dam-2" not in ids(rec.related("dam-1", 9, now=before))
    assert len(rec.related("dam-2", 3, now=before)) == 3  # a preview of its own block


def test_unpublished_records_never_appear_and_remove_what_was(rec, articles):
    report = rec.add([{"id": "dam-1", "deleted": True}, {"id": "new", "title": "A draft", "status": "draft"}])
    assert (report.unpublished, report.removed, report.added) == (2, 1, 0)
    assert "dam-1" not in rec
    assert "new" not in rec
    records = [article.to_record() for article in articles]
    records[2]["status"] = "draft"
    report = rec.build(records, [replace(articles[3], metadata={"draft": True})])
    assert "dam-3" not in rec
    assert (report.unpublished, report.added, report.skipped) == (2, 1, 0)
    # Deleted in the same delta that brings it: it never appears.
    report = rec.add([{"id": "x", "title": "A title"}, {"id": "x", "deleted": True}])
    assert "x" not in rec
    assert rec.remove("x") == []


def test_fill(rec, articles, ids):
    dated = [replace(article, published=DAY + timedelta(days=n)) for n, article in enumerate(articles)]
    rec.build(dated)
    some = {"section": ["dam"], "now": DAY + timedelta(days=9)}
    assert len(rec.related("dam-1", 5, **some)) == 2
    assert len(rec.related("dam-1", 5, fill="recent", **some)) == 2  # a filter goes before
    rec.ban("dam-1", "dam-2")
    rec.configure(fill="recent")
    block = rec.related("dam-1", 9, editorial="only", now=some["now"])
    assert ids(block) == ["club-3", "club-2", "club-1", "dam-3"]
    assert {link.via for link in block} == {"fill"}
    scores = {link.id: link.score for link in rec.related("dam-1", 9, fill="none", now=some["now"])}
    assert {link.id: link.score for link in block} == scores
    assert ids(rec.related("dam-1", 9, editorial="only", fill="section", now=some["now"])) == ["dam-3"]
    assert ids(rec.related("dam-1", 1, editorial="only", now=some["now"])) == ["club-3"]
    assert "dam-1" not in ids(rec.related("dam-1", 9, editorial="only", copies=False, now=some["now"]))


def test_fill_never_brings_the_article_itself(rec, articles, ids):
    rec.build([replace(article, published=DAY, url=None) for article in articles])
    revised = replace(articles[0], url=None, text="Another text altogether.")
    for copies in (True, False):
        assert "dam-1" not in ids(rec.related(revised, 9, fill="recent", copies=copies, now=DAY))


def test_what_is_fresh_is_found_however_far_down_it_is(large, ids, monkeypatch):
    monkeypatch.setattr("recommender.blocks.builder.FRESH_CANDIDATES", 1)
    for half_life in (3.0, 10.0, 60.0):
        for as_of in (DAY, DAY - timedelta(days=200), DAY + timedelta(days=100)):
            options = {"half_life": half_life, "as_of": as_of, "variety": 0.0, **BARE}
            assert ids(large.related("0021", 5, **options)) == ids(large.related("0021", MANY, **options))[:5]


def test_freshness_counts_from_the_article_or_a_given_day(rec, articles, ids):
    old, new = replace(articles[1], published=DAY - timedelta(days=3000)), replace(articles[2], published=DAY)
    for age, (second, third) in {
        0: (old, new),
        1: (replace(old, published=DAY), replace(new, published=old.published)),
    }.items():
        rec.add([replace(articles[0], published=DAY), second, third])
        first = ids(rec.related("dam-1", 2, half_life=30.0, now=DAY))[0]
        assert first == ("dam-3" if age == 0 else "dam-2")
    undated = replace(articles[0], published=None)
    rec.add([undated, old, new])
    assert ids(rec.related("dam-1", 1, half_life=30.0, as_of=DAY, now=DAY)) == ["dam-3"]
    far = DAY - timedelta(days=3000)
    assert ids(rec.related("dam-1", 2, half_life=30.0, as_of=far, now=DAY)) == ids(rec.related("dam-1", 2, now=DAY))


def test_the_reasons_are_what_the_score_is_made_of(examples):
    block = examples.related(THEFT, 5, editorial="ignore", why=True)
    article = examples.get(THEFT)
    for link in block:
        why = link.reasons
        assert why.raw_score == pytest.approx(why.dense + why.lexical + why.hubness, abs=1e-5)
        assert link.score == display_scale(examples._store).display(why.raw_score)
        assert sum(share for _, share in why.words) <= why.lexical + 1e-5
        assert [share for _, share in why.words] == sorted((share for _, share in why.words), reverse=True)
        other = examples.get(link.id)
        text = f"{other.title} {other.text}".lower()
        assert all(word in text for word, _ in why.words)
        assert set(why.tags) <= set(article.tags) & set(other.tags)
        assert why.days == round((other.published - article.published).total_seconds() / 86400)
    assert any(link.reasons.tags for link in block)
    assert examples.related(THEFT, 1)[0].reasons is None


def test_all_shared_words_together_are_the_lexical_part(examples):
    from recommender.ranking.matching import explain, stored_queries

    store = examples._store
    with store.snapshot():
        query = stored_queries(store, [THEFT])[THEFT]
        for parts in explain(store, query, [CUT, FERRY, FAR]).values():
            assert sum(share for _, share in parts.terms) == pytest.approx(parts.lexical, abs=1e-4)


def test_why_not(examples):
    def reason(other, article=THEFT, **chosen):
        return examples.why_not(article, other, 3, editorial="ignore", **chosen)

    found = reason(CUT)
    assert (found.place, found.rank, found.reason) == (1, 1, "")
    assert found.score == examples.related(THEFT, 1, editorial="ignore")[0].score
    plain = dict(examples.links(75, plain=True))[THEFT]
    assert reason(FAR).rank == [link.id for link in plain].index(FAR) + 1
    assert "at random" in reason(FAR).reason
    assert "come before it" in reason(FAR, floor=False).reason
    assert "itself" in reason(THEFT).reason
    assert "section" in reason(CUT, section="Sport").reason
    assert "older" in reason(CUT, after="2026-12-01").reason
    assert "newer" in reason(CUT, before="2020-12-01").reason
    assert "future" in reason(CUT, now="2020-01-01").reason
    assert "language" in reason(CUT, language="de").reason
    assert "excluded" in reason(CUT, exclude=[CUT]).reason
    assert "own section" in reason(CUT, sections="other").reason
    examples.ban(CUT)
    assert "banned from all" in reason(CUT).reason
    examples.ban(FERRY, THEFT)
    assert "one another" in reason(FERRY).reason
    examples.set_rule({"name": "r1", "where": {"section": "Sport"}, "never_recommended": True})
    assert "'r1'" in reason(FAR).reason
    examples.set_rule({"name": "r2", "where": {"section": "Culture"}, "no_block": True})
    assert "no block by the rule 'r2'" in reason(FAR).reason
    with pytest.raises(ArticleNotFoundError, match="nothing"):
        reason("nothing")


def test_plain_is_not_shaped(rec):
    for odd in ({"editorial": "only"}, {"fill": "recent"}, {"variety": 0.5}, {"copies": True}):
        with pytest.raises(PolicyError, match="plain"):
            next(rec.links(3, plain=True, **odd))
    assert dict(rec.links(3, plain=True, section=["dam"]))["dam-1"][0].section == "dam"


def test_sections_of_one_page_may_meet(rec, articles, ids):
    rec.add([replace(article, url=f"https://x.org/page#{article.id}") for article in articles])
    assert len(rec.related("dam-1", 9)) == 5


def test_pins_and_own_links_may_be_in_another_language_unless_one_is_asked_for(rec, articles, ids):
    german = Article(
        id="de", title="Der Fluss", text="Der Damm am Fluss wurde gestern geschlossen, sagte sie.", language="de"
    )
    rec.add([german, replace(articles[1], related=("de",))])
    rec.pin("dam-1", "de")
    assert ids(rec.related("dam-1"))[0] == "de"
    assert ids(rec.related("dam-2"))[0] == "de"
    assert "de" not in ids(rec.related("dam-1", 9, language="en"))
    rec.unpin("dam-1")
    assert "de" not in ids(rec.related("dam-1", 9))


def test_a_build_does_not_empty_an_index_because_a_field_says_so(tmp_path, with_given_vectors):
    records = [{"id": str(n), "title": f"title {n}", "text": f"topic{n % 4} words"} for n in range(40)]
    with with_given_vectors(), Recommender(tmp_path / "index") as rec:
        rec.build(records)
        report = rec.build([{**record, "published": False} for record in records])
        assert (len(rec), report.removed) == (40, 0)
        assert "not published any more" in report.refused
        assert rec.build([{**records[0], "status": "draft"}, *records[1:]]).removed == 1
        assert rec.add([{"id": str(n), "deleted": True} for n in range(20)]).removed == 19
        assert rec.build([{**record, "published": False} for record in records], prune_limit=100).removed == 20


def test_a_scheduled_article_can_be_added_as_it_was_read(rec):
    rec.add([{"id": "s", "title": "Soon", "published": "2126-01-01", "status": "scheduled"}])
    assert rec.add([rec.get("s")]).unchanged == 1
    assert "s" in rec


def test_a_scale_that_a_kill_left_out_is_measured_by_the_next_build(root, tmp_path, monkeypatch):
    def killed(store):
        raise KeyboardInterrupt

    with Recommender(tmp_path / "index") as rec:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("recommender.ranking.calibration.calibrate", killed)
            rec.build(root / "examples")
        rec.build(root / "examples")
        assert rec._store.settings()["scale"]["deviation"] > 0


def test_a_damaged_policy_is_told_and_only_a_whole_one_takes_its_place(rec):
    import sqlite3

    rec.ban("dam-2")
    rec.close()
    with sqlite3.connect(rec.path / "articles.sqlite") as database:
        database.execute("UPDATE policy SET document = replace(document, 'dam-2', 'dam-3')")
    for ask in (lambda: rec.related("dam-1"), lambda: rec.ban("dam-1"), lambda: list(rec.links())):
        with pytest.raises(IndexDamagedError, match="policy --load"):
            ask()
    rec.load_policy({"bans": {"articles": ["dam-2"]}})
    assert rec.policy.banned == {"dam-2"}


def test_why_not_names_the_copy(rec, articles):
    text = " ".join(f"word{n}" for n in range(60))
    for id, day in (("one", 1), ("two", 2)):
        rec.add([Article(id=id, title=f"Dam report {id}", text=text, published=DAY + timedelta(days=day))])
    now = DAY + timedelta(days=9)
    block = [link.id for link in rec.related("dam-1", 9, now=now)]
    assert "two" in block
    assert "one" not in block
    assert "copy of 'two'" in rec.why_not("dam-1", "one", 9, now=now).reason
    assert "copy of the article itself" in rec.why_not("one", "two", 9, now=now).reason
    assert [link.id for link in rec.search(text, 9, now=now)].count("one") == 0


def test_an_article_that_is_not_in_the_index_has_the_same_filters_and_own_links(rec, articles, ids):
    new = Article(id="new", title="Dam talks", text="Talks on the dam.", section="dam", related=("club-3", "Nothing"))
    assert ids(rec.related(new, 2))[0] == "club-3"
    assert {id[:3] for id in ids(rec.related(new, 9, sections="same"))} == {"dam"}
    rec.pin("new", "club-2")
    assert ids(rec.related(new, 2)) == ["club-2", "club-3"]
    rec.set_rule({"name": "x", "where": {"section": "dam"}, "no_block": True})
    assert rec.related(new) == []


def test_facets_that_filters_go_by():
    article = Article(
        id="a", title="t", section="S", tags=("x",), metadata={"n": [1, 2.5, {"no": 1}], "b": True, "z": None}
    )
    assert facets(article) == {("section", "S"), ("tags", "x"), ("n", "1"), ("n", "2.5"), ("b", "true")}
    assert facets(Article(id="a", title="t", metadata={"long": "x" * 201})) == set()


def test_shown_scores_are_finite_json(large):
    block = large.related("0001", 5, now=DAY)
    assert all(math.isfinite(link.score) for link in block)
    json.dumps([link.metadata for link in block])


def test_what_a_caller_does_with_the_metadata_of_a_link_changes_no_other_block(rec, articles):
    rec.build([replace(article, metadata={"authors": ["A. B."]}) for article in articles])
    before = rec.related(articles[0].id, now=DAY)
    expected = [dict(link.metadata) for link in rec.related(articles[0].id, now=DAY)]
    for link in before:
        link.metadata["authors"].append("C. D.")
        link.metadata["seen"] = True
    assert [dict(link.metadata) for link in rec.related(articles[0].id, now=DAY)] == expected
    assert expected and all(metadata == {"authors": ["A. B."]} for metadata in expected)


def test_metadata_as_deep_as_it_can_be_stored_is_shown(rec, articles):
    deep = current = {}
    for _ in range(600):
        current["d"] = current = {}
    rec.build([replace(article, metadata={"deep": deep}) for article in articles])
    assert all(link.metadata == {"deep": deep} for link in rec.related(articles[0].id, now=DAY))


def test_of_links_to_one_page_one_stays_however_different_their_texts_are(rec, articles):
    first, *others = articles
    ids = [link.id for link in rec.related(first.id, 3, now=DAY)]
    page = {ids[0]: "https://x.org/page", ids[2]: "http://x.org/page/"}
    rec.add([replace(article, url=page[article.id]) for article in others if article.id in page])
    after = [link.id for link in rec.related(first.id, 3, now=DAY)]
    assert len({ids[0], ids[2]} & set(after)) == 1
