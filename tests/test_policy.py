from datetime import UTC, date, datetime

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from recommender import Article, PolicyError
from recommender.policy import Policy, Rule, Settings, as_where, earlier, matches, moment

ids = st.text("abcdef", min_size=1, max_size=2)
wheres = st.dictionaries(
    st.sampled_from(["section", "tags", "kind"]), st.lists(ids, min_size=1, max_size=2), min_size=1
)
rules = st.builds(
    lambda name, where, apart, flags: Rule(name, as_where(where), *flags, never_with=as_where(apart)),
    ids, wheres, wheres, st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
settings = st.fixed_dictionaries(
    {},
    optional={
        "editorial": st.sampled_from(["first", "only", "ignore"]),
        "copies": st.booleans(),
        "variety": st.floats(0, 1),
        "half_life": st.none() | st.floats(1, 999),
        "max_age": st.none() | st.sampled_from(["3d", "12m"]),
        "section": st.lists(ids, max_size=2),
        "where": wheres,
        "language": st.none() | st.sampled_from(["de", "any"]),
        "after": st.none() | st.just("2026-03-05"),
    },
)
policies = st.builds(
    lambda chosen, pins, banned, pairs, made: Policy(
        Settings().updated(chosen),
        {id: pinned for id, links in pins.items() if (pinned := tuple(link for link in links if link != id))},
        frozenset(banned),
        frozenset((min(pair), max(pair)) for pair in pairs),
        tuple({rule.name: rule for rule in made}.values()),
    ),
    settings,
    st.dictionaries(ids, st.lists(ids, min_size=1, unique=True)),
    st.sets(ids),
    st.sets(st.tuples(ids, ids).filter(lambda pair: pair[0] != pair[1])),
    st.lists(rules, max_size=3),
)


@given(policies)
def test_a_policy_written_and_read_is_the_same(policy):
    import json

    import yaml

    record = policy.to_record()
    assert Policy.from_record(json.loads(json.dumps(record))) == policy
    assert Policy.from_record(yaml.safe_load(yaml.safe_dump(record, sort_keys=False))) == policy


@given(policies, ids, ids)
def test_what_is_taken_back_is_as_it_was(policy, one, other):
    if one not in policy.banned:
        assert policy.with_ban(one).without_ban(one) == policy
    if one != other:
        banned = policy.with_ban(one, other)
        assert banned == policy.with_ban(other, one) == banned.with_ban(one, other)
        assert not banned.without_ban(other, one).pairs & {(min(one, other), max(one, other))}
    assert one not in policy.without_pins(one).pins


def test_pins_keep_their_order_and_the_new_ones_come_first():
    policy = Policy().with_pins("a", ["b", "c"]).with_pins("a", ["d", "c"])
    assert policy.pins == {"a": ("d", "c", "b")}
    assert policy.without_pins("a", ["c"]).pins == {"a": ("d", "b")}
    with pytest.raises(PolicyError, match="itself"):
        policy.with_pins("a", ["a"])
    with pytest.raises(PolicyError, match="two articles"):
        policy.with_ban("a", "a")
    assert policy.with_pins(" a ", ["x"]).pins == {"a": ("x", "d", "c", "b")}
    assert policy.without_pins(" a").pins == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": 1}, "no block setting 'colour'"),
        ({"editorial": "maybe"}, "first, only, ignore"),
        ({"copies": "yes"}, "true or false"),
        ({"variety": 1.5}, "from 0 to 1"),
        ({"variety": float("nan")}, "from 0 to 1"),
        ({"half_life": 0}, "more than 0"),
        ({"half_life": True}, "number"),
        ({"max_age": "soon"}, "12m"),
        ({"max_age": 3}, "12m"),
        ({"after": "someday"}, "no date for after"),
        ({"language": "klingonian"}, "no language"),
        ({"section": 5}, "list of texts"),
        ({"after": 20260101}, "no date"),
        ({"where": ["section", "City"]}, "which articles"),
        ({"where": [1, 2]}, "which articles"),
        ({"where": {"kind": {"a": 1}}}, "kind"),
        ({"where": {"kind": "x" * 201}}, "200"),
    ],
)
def test_a_setting_that_cannot_be_is_told(options, message):
    with pytest.raises(PolicyError, match=message):
        Settings().updated(options)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "parts"),
        ({"pin": {}}, "parts"),
        ({"pins": []}, None),
        ({"pins": {"a": {"b": 1}}}, "list of ids"),
        ({"pins": {"a": ["b", "a"]}}, "itself"),
        ({"bans": {"article": []}}, "bans"),
        ({"bans": {"pairs": [["a"]]}}, "two ids"),
        ({"bans": {"pairs": [["a", "a"]]}}, "two articles"),
        ({"bans": {"articles": [True]}}, "no id"),
        ({"rules": {"name": "x"}}, "list"),
        ({"rules": [{"where": {"section": "x"}}]}, "name"),
        ({"rules": [{"name": "x", "no_block": True}]}, "which articles"),
        ({"rules": [{"name": "x", "where": {"section": "y"}}]}, "does nothing"),
        ({"rules": [{"name": "x", "where": {"section": "y"}, "no_block": "yes"}]}, "true or false"),
        ({"rules": [{"name": "x", "where": {"section": "y"}, "colour": 1}]}, "unknown part"),
        ({"rules": [{"name": "x", "where": {"a": 1}, "no_block": True}] * 2}, "one name"),
    ],
)
def test_a_policy_that_cannot_be_is_told(record, message):
    if message is None:
        assert Policy.from_record(record) == Policy()
        return
    with pytest.raises(PolicyError, match=message):
        Policy.from_record(record)


def test_which_articles_are_meant():
    article = Article(
        id="a", title="T", section="Deaths", tags=("x", "y"), metadata={"kind": ["n", 2], "paid": True, "no": None}
    )
    for where in (
        {"section": "Deaths"},
        {"tags": ["q", "y"]},
        {"kind": 2},
        {"kind": "n", "paid": True},
        {"paid": "true", "section": ["Quiz", "Deaths"]},
    ):
        assert matches(as_where(where), article), where
    for where in ({"section": "deaths"}, {"tags": "z"}, {"kind": "n", "paid": False}, {"no": "None"}, {"other": "x"}):
        assert not matches(as_where(where), article), where


def test_ages_and_days():
    assert Settings().updated({"max_age": "12m"}).age == relativedelta(months=12)
    assert Settings().updated({"max_age": "6w"}).age == relativedelta(weeks=6)
    assert Settings().age is None
    assert moment("2026-03-05", "after") == moment(date(2026, 3, 5), "as_of") == datetime(2026, 3, 5, tzinfo=UTC)
    for day in ("5 March 2026", "20260305"):
        assert moment(day, "before") == moment("2026-03-05", "before") > moment(day, "after")
    assert earlier(datetime(2026, 3, 5, tzinfo=UTC), Settings().updated({"max_age": "3000y"}).age) is None
    for name in ("before", "now"):  # the whole day
        assert moment("2026-03-05", name) > datetime(2026, 3, 5, 23, 59, 59, tzinfo=UTC)
        assert moment(datetime(2026, 3, 5, 9), name) == datetime(2026, 3, 5, 9, tzinfo=UTC)
    assert Settings().updated({"after": date(2026, 3, 5)}).after == "2026-03-05T00:00:00+00:00"
