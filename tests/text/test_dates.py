from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import Article
from recommender.text.dates import parse_date

APRIL = datetime(2021, 4, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2021-05-17", datetime(2021, 5, 17, tzinfo=UTC)),
        ("2021-05-17T23:39:00Z", datetime(2021, 5, 17, 23, 39, tzinfo=UTC)),
        ("2021-05-17T23:39:00+02:00", datetime(2021, 5, 17, 23, 39, tzinfo=timezone(timedelta(hours=2)))),
        ("Mon, 17 May 2021 23:39:00 GMT", datetime(2021, 5, 17, 23, 39, tzinfo=UTC)),
        ("17. Mai 2021", datetime(2021, 5, 17, tzinfo=UTC)),
        ("12.05.2021", datetime(2021, 5, 12, tzinfo=UTC)),
        ("14:20 12.05.2021", datetime(2021, 5, 12, 14, 20, tzinfo=UTC)),
        ("12.05.2021 04.20", datetime(2021, 5, 12, 4, 20, tzinfo=UTC)),
        ("05/17/2021", datetime(2021, 5, 17, tzinfo=UTC)),
        ("1431234567", datetime(2015, 5, 10, 5, 9, 27, tzinfo=UTC)),
    ],
)
def test_dates_in_common_notations_are_read(text, date):
    assert parse_date(text) == date


@pytest.mark.parametrize(
    "text", ["", "soon", "May 2021", "2021", "03/04/2021", "yesterday", "17", "x" * 1000, None, True]
)
def test_an_incomplete_date_is_none(text):
    assert parse_date(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "03/04/2021", "03-04-2021", "03 04 2021", "3/4/21", "05.03.26", "05.03.26 10:30", "26.05.03", "21-03-04",
        "10:30, 03/04/2021", "03/04/2021 10:30", "03-04-2021 10:30 +0200", "Sunday, 03/04/2021", "(03/04/2021)",
        "3/4-2021", "3,4,2021", "3·4·2021", "03‑04‑2021", "5/3/2021, 3:45 PM", "٠٣/٠٤/٢٠٢١", "３/４/２０２１",
        "\u200e03\u200e/\u200e04\u200e/\u200e2021", "1.2.2021 - 3.2.2021",
    ],
)  # fmt: skip
def test_an_ambiguous_date_is_none_wherever_it_stands(text):
    assert parse_date(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2021-4-3", "2021/04/03", "2021.04.03", "2021. 4. 3.", "2021 04 03", "2021‑04‑03", "2021年4月3日",
        "2021년 4월 3일", "20210403", "03.04.2021", "3. 4. 2021", "3.4.2021", "Sonntag, 03.04.2021", "(03.04.2021)",
        "03.04.2021 г.", "٠٣.٠٤.٢٠٢١", "3 Apr 21",
    ],
)  # fmt: skip
def test_a_date_with_a_conventional_order_is_read(text):
    assert parse_date(text) == APRIL


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("04/13/2021", (2021, 4, 13)), ("13-04-2021", (2021, 4, 13)), ("13 04 2021", (2021, 4, 13)),
        ("04.13.2021", (2021, 4, 13)), ("31.12.99", (1999, 12, 31)), ("12/31/99", (1999, 12, 31)),
        ("5/5/2021", (2021, 5, 5)), ("Fri, 03/05/2021", (2021, 3, 5)), ("Monday 03/05/2021", (2021, 5, 3)),
    ],
)  # fmt: skip
def test_a_date_with_one_valid_reading_is_read(text, date):
    assert parse_date(text) == datetime(*date, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2021-15-03", "2021-02-30", "30. 2. 2021", "31/04/2021", "20.21.2021", "0000-00-00"])
def test_a_day_that_the_calendar_lacks_is_none(text):
    assert parse_date(text) is None


def readings(year, month, day):
    """Return the days that the numbers of a date can mean in the orders that countries use."""
    try:
        return {datetime(int(year) if len(year) == 4 else 2000 + int(year), int(month), int(day), tzinfo=UTC)}
    except ValueError:
        return set()


@given(
    numbers=st.tuples(st.integers(1, 31), st.integers(1, 12)),
    year=st.integers(2001, 2030),
    digits=st.sampled_from([2, 4]),
    order=st.sampled_from(["DMY", "MDY", "YMD"]),
    separator=st.sampled_from([".", "/", "-", " ", ". ", " / ", " - "]),
    around=st.sampled_from(["{}", "{} 10:30", "{}, 10:30:05", "10:30, {}", "3:45 PM {}", "({})", "Sunday, {}"]),
)
@settings(max_examples=50)
def test_a_numeric_date_is_read_in_its_one_order_or_not_at_all(numbers, year, digits, order, separator, around):
    day, month = (f"{number:02}" for number in numbers)
    values = {"D": day, "M": month, "Y": str(year)[-digits:]}
    first, second, third = (values[part] for part in order)
    days = readings(first, second, third) if order[0] == "Y" or digits == 2 else set()
    if order[0] != "Y" or digits == 2:
        days |= readings(third, second, first)
        if separator.strip() != "." or digits == 2 or int(second) > 12:  # a year after dots: the day is first
            days |= readings(third, first, second)
    if around.startswith("Sunday") and len(days) > 1:
        days = {day for day in days if day.weekday() == 6}
    moment = parse_date(around.format(separator.join((first, second, third))))
    if len(days) == 1 and separator.strip():
        assert moment is not None
    if moment is not None:
        assert days == {moment.replace(hour=0, minute=0, second=0)}


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (1728010352, datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        (1728010352000, datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        ("1728010352000", datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        (1749083030948, datetime(2025, 6, 5, 0, 23, 50, 948000, tzinfo=UTC)),
        ({"$date": {"$numberLong": "1728010352000"}}, datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        ({"_seconds": 1728010352, "_nanoseconds": 0}, datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        (946684800, datetime(2000, 1, 1, tzinfo=UTC)),
        (946684800000, datetime(2000, 1, 1, tzinfo=UTC)),
        ("202410040252", datetime(2024, 10, 4, 2, 52, tzinfo=UTC)),
        ("20241004025232", datetime(2024, 10, 4, 2, 52, 32, tzinfo=UTC)),
        (17280103520, None),
        ({"day": 3}, None),
    ],
)
def test_a_time_since_1970_is_no_day_and_clock(value, date):
    assert parse_date(value) == date


@given(st.datetimes(datetime(2001, 9, 10), datetime(2099, 1, 1)))
def test_every_time_in_milliseconds_is_read(moment):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_date(milliseconds) == parse_date(str(milliseconds)) == moment


@pytest.mark.parametrize(
    "zone",
    ["+01:00", "+0100", " +01:00", " +0100", " +1", " UTC+01:00", " GMT+0100", " Europe/Berlin", "[Europe/Berlin]",
     "+01:00[Europe/Berlin]", " CET"],
)  # fmt: skip
def test_a_time_zone_is_applied_in_every_notation(zone):
    assert parse_date(f"2021-03-05 10:00:00{zone}") == datetime(2021, 3, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "/Date(1614902400000)/", "/Date(1614902400000+0100)/", "Fri Mar 05 00:00:00 +0000 2021", "2021 m. kovo 5 d.",
        "2021. gada 5. marts", "Freitag, den 5. März 2021", "Am 5. März 2021", "Publié le 5 mars 2021",
        "Posted on March 5, 2021", "5 มีนาคม 2564", "5 มีนาคม 2021", "令和3年3月5日", "民國110年3月5日", "۵ مارس ۲۰۲۱",
    ],
)  # fmt: skip
def test_dates_of_other_calendars_and_with_words_around_them(text):
    assert parse_date(text) == datetime(2021, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["۱۴۰۰/۰۱/۱۵", "۱۵ فروردین ۱۴۰۰", "١٤٤٢/٠٧/٢١"])
def test_a_date_in_the_calendar_of_iran_or_islam_is_none(text):
    assert parse_date(text) is None


@pytest.mark.parametrize("zone", ["Z", " Z", " UTC", "UTC", " GMT", "+00:00", ""])
def test_utc_in_every_notation(zone):
    assert parse_date(f"2021-03-05 10:00:00{zone}") == datetime(2021, 3, 5, 10, tzinfo=UTC)


def test_an_unknown_time_zone_is_no_date():
    assert parse_date("2021-03-05 10:00 Europe/Nowhere") is None


@pytest.mark.parametrize(
    ("text", "language", "month"),
    [("5. listopada 2021", "hr", 10), ("5 listopada 2021", "pl", 11), ("5. listopadu 2021", "cs", 11),
     ("5. srpna 2021", None, 8)],
)  # fmt: skip
def test_a_month_is_read_in_the_language_of_the_text(text, language, month):
    assert parse_date(text, language) == datetime(2021, month, 5, tzinfo=UTC)


@pytest.mark.parametrize("language", [None, "de"])
def test_a_month_that_differs_by_language_is_none_without_it(language):
    assert parse_date("5. listopada 2021", language) is None


@pytest.mark.parametrize(
    ("fields", "month"),
    [
        ({"language": "hr-HR"}, 10),
        ({"text": "Rada miasta rozmawiała o nowym moście. Budowa zacznie się wiosną przyszłego roku. " * 3}, 11),
    ],
)
def test_the_language_of_an_article_decides_its_month(fields, month):
    article, _ = Article.from_record({"id": "a", "title": "Most", "published": "5. listopada 2021", **fields})
    assert article.published == datetime(2021, month, 5, tzinfo=UTC)


def test_a_date_that_is_left_empty_is_reported_with_the_way_to_write_it():
    article, (note,) = Article.from_record({"id": "a", "title": "t", "published": "10:30, 03/04/2021"})
    assert article.published is None
    assert "'10:30, 03/04/2021'" in note
    assert "YYYY-MM-DD" in note
