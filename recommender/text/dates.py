"""Parsing of dates; a date with several readings is rejected."""

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

MAX_DATE_CHARS = 100  # longer texts are no dates, and parsing them is slow
_SIGN = "[./_\\-‐‑‒–−]"
_NUMERIC = re.compile(
    # Day, month and year with a sign between them, and neither digits nor such a sign around them.
    rf"(?<!\d)(?<!\d{_SIGN})(\d{{1,4}})\s*(?P<sign>{_SIGN})\s*(\d{{1,2}})\s*(?P=sign)\s*(\d{{1,4}})(?!{_SIGN}?\d)"
    r"|^(\d{1,4})\s+(\d{1,2})\s+(\d{1,4})(?!\d)"
    r"|(?<!\d)(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]"
)
_CLOCK = re.compile(
    r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s*(?:GMT|UTC)?\s*[+-]\d\d:?\d\d\b)?|\d{1,2}\s*[ap]\.?m\b", re.I
)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY = re.compile(rf"\b({'|'.join(_WEEKDAYS)})(?:day|s|sday|nesday|r|rs|rsday|urday)?\b", re.I)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_TIME = {9: 10**6, 10: 10**6, 12: 10**3, 13: 10**3, 16: 1}  # microseconds of the unit, by the number of digits
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # day and time without signs, by the number of digits
_ISO_ZONE = re.compile(r"(:\d\d(?:[.,]\d+)?)\s*(?:(?:UTC|GMT)\s*)?(?:([+-])(\d\d?)(?::?(\d\d))?|UTC|GMT|Z)$", re.I)
_NAMED_ZONE = re.compile(
    r"\s*\[?\b((?:Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[\w/+-]+)\]?$"
)
_DOTTED_TIME = re.compile(r"(?<=\d{4}-\d\d-\d\d[ T])(\d\d?)\.(\d\d)(?!\d)")  # 16.05 for 16:05
_RFC_2822 = re.compile(r"(?:[a-z]{3},\s*)?\d{1,2} [a-z]{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UTC|Z)", re.I)
_JSON_DATE = re.compile(r"/Date\((\d+)(?:[+-]\d{4})?\)/")  # of .NET
# Notations that dateparser does not read, and the same in one that it does.
_REWRITES = (
    (re.compile(r"^([a-z]{3} [a-z]{3} \d\d \d\d:\d\d:\d\d) ([+-]\d{4}) (\d{4})$", re.I), r"\1 \3 \2"),  # Twitter
    (re.compile(r"(\d{4}) m\. (\w+) (\d{1,2}) d\."), r"\3 \2 \1"),  # Lithuanian
    (re.compile(r"(\d{4})\. gada (\d{1,2})\. (\w+)"), r"\2 \3 \1"),  # Latvian
    (re.compile(r"(?:^|(?<=, ))(?:(?:published|posted)(?: on)?|publié le|publicado e[lm]|am|den|le)[: ]+", re.I), ""),
)
# The year before the first one of an era, and of the calendar of Thailand.
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "民國": 1911}
_ERA = re.compile(f"({'|'.join(_ERAS)})\\s*(\\d{{1,3}}|元)\\s*年")
_THAI_YEARS = 543
_THAI = re.compile("[\u0e00-\u0e7f]")
_PERSIAN_DIGIT = re.compile("[\u0660-\u0669\u06f0-\u06f9]")  # also of dates in the calendars of Iran and of Islam
_MIN_YEAR_IN_PERSIAN_DIGITS = 1600
_UNIX_FIELDS = ("_seconds", "seconds")  # of a timestamp of Firestore
# Names of two months: listopad is November in Polish and Czech, October in Croatian and its relatives.
_MONTHS_BY_LANGUAGE = re.compile(r"\b(?:listopad[au]?|lis|lip|srp)\b", re.I)
_MONTH_LANGUAGES = {"hr": "hr", "bs": "hr", "sh": "hr", "pl": "pl", "cs": "cs"}
_ORDERS = ("DMY", "MDY", "YMD")  # of day, month and year that some country uses


def parse_date(value: object, language: str | None = None) -> datetime | None:
    """Read a date with at least day, month and year; one without a time zone is taken as UTC.

    Args:
        value: a datetime, a text in ISO 8601 or as people write dates, or seconds since 1970 (or milliseconds); or an
            object of MongoDB (`{"$date": ...}`) or Firestore (`{"_seconds": ...}`) with one of these.
        language: the ISO 639 code of the language of the text; a month that `needs_language` has several readings
            without it.

    Returns:
        A timezone-aware datetime, or None if `value` is none of these or has more than one reading, as 03/04/2021,
        03-04-2021 and 05.03.26 have. Dates that begin with a year of four digits, those with dots that end with
        one (day first) and those with an English weekday that only one reading has, have one reading.

    Example:
        >>> parse_date("3 April 2021")
        datetime.datetime(2021, 4, 3, 0, 0, tzinfo=<UTC>)
        >>> parse_date("03/04/2021") is None  # two readings
        True
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, Mapping):
        value = next((value[name] for name in ("$date", "$numberLong", *_UNIX_FIELDS) if name in value), None)
        return None if value is None else parse_date(value, language)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) >= 10**MAX_DATE_CHARS:
        return None
    text = str(int(value)) if isinstance(value, float) and value == value // 1 else str(value).strip()
    if not text or len(text) > MAX_DATE_CHARS:
        return None
    if text.isascii() and text.isdigit():
        return _from_digits(text)
    if json_date := _JSON_DATE.fullmatch(text):
        return _from_digits(json_date[1])
    first_year = 1
    if not text.isascii():
        first_year = _MIN_YEAR_IN_PERSIAN_DIGITS if _PERSIAN_DIGIT.search(text) else 1
        # Browsers format dates with marks of the writing direction in them.
        text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
        text = _ERA.sub(lambda era: f"{_ERAS[era[1]] + int(era[2].replace('元', '1'))}年", text)
    if _RFC_2822.fullmatch(text):
        with suppress(ValueError):
            return parsedate_to_datetime(text).astimezone(UTC)
    zone = _NAMED_ZONE.search(text)
    if zone:
        text = text[: zone.start()]
    weekday = _WEEKDAY.search(text)
    for numbers in reversed(list(_NUMERIC.finditer(text))):
        days = _readings(numbers)
        if weekday and len(days) > 1:
            days = {day for day in days if _WEEKDAYS[day.weekday()] == weekday[1].lower()}
        if len(days) != 1:
            return None
        text = f"{text[: numbers.start()]}{days.pop().isoformat()}{text[numbers.end() :]}"
    text = _DOTTED_TIME.sub(lambda time: f"{time[1]:0>2}:{time[2]}", text)
    moment: datetime | None
    try:
        moment = datetime.fromisoformat(_ISO_ZONE.sub(_iso_zone, text))
    except ValueError:
        for pattern, replacement in _REWRITES:
            text = pattern.sub(replacement, text)
        moment = _by_words(text, language)
        if moment and _THAI.search(text) and moment.year > datetime.now(UTC).year + _THAI_YEARS // 2:
            moment = moment.replace(year=moment.year - _THAI_YEARS)
    if moment is None or moment.year < first_year:
        return None
    if moment.tzinfo:
        return moment
    try:
        return moment.replace(tzinfo=ZoneInfo(zone[1]) if zone else UTC)
    except (KeyError, OSError, ValueError):  # there is no such time zone
        return None


def needs_language(value: object) -> bool:
    """Return whether a text contains the name of a month that differs by language: listopad, October or November."""
    return isinstance(value, str) and len(value) <= MAX_DATE_CHARS and bool(_MONTHS_BY_LANGUAGE.search(value))


def _from_digits(digits: str) -> datetime | None:
    """Return the moment of a text of digits: day and time without signs, else the time since 1970."""
    with suppress(KeyError, ValueError):
        return datetime.strptime(digits, _COMPACT[len(digits)]).replace(tzinfo=UTC)
    microseconds = _UNIX_TIME.get(len(digits))
    return _EPOCH + timedelta(microseconds=int(digits) * microseconds) if microseconds else None


def _iso_zone(end: re.Match[str]) -> str:
    """Return a time and its zone in ISO 8601: `:00+02:00` for `:00 UTC+2`."""
    time, sign, hours, minutes = end.groups()
    return f"{time}{sign}{int(hours):02}:{minutes or '00'}" if sign else f"{time}+00:00"


def numeric_dates(text: str) -> list[set[date]]:
    """Return the readings of each date in a text that is written in numbers."""
    return [_readings(numbers) for numbers in _NUMERIC.finditer(text)]


def _readings(numbers: re.Match[str]) -> set[date]:
    """Return the days that three numbers mean in the orders of day, month and year that some country uses."""
    first, second, third = (group for group in numbers.groups() if group and group != numbers["sign"])
    orders: list[tuple[str, str, str]] = []  # year, month, day
    if len(first) == 4:
        orders = [(first, second, third)]
    elif len(third) == 4 and numbers["sign"] == "." and int(second) <= 12:
        # No country writes the month first with dots (DIN 5008, GOST R 7.0.97, ČSN 01 6910).
        orders = [(third, second, first)]
    elif len(third) == 4:
        orders = [(third, second, first), (third, first, second)]
    else:
        orders += [(third, second, first), (third, first, second)] if len(third) == 2 else []
        orders += [(first, second, third)] if len(first) == 2 else []
    days = set()
    for year, month, day in orders:
        century = 0 if len(year) == 4 else 1900 if int(year) >= 69 else 2000  # the rule of POSIX
        with suppress(ValueError):
            days.add(date(century + int(year), int(month), int(day)))
    return days


def _by_words(text: str, language: str | None) -> datetime | None:
    """Return the moment that dateparser reads in a text; None if it depends on the order of the numbers."""
    numbers = len(re.findall(r"\d+", _CLOCK.sub(" ", text)))
    if numbers < 2:  # the day or the year is missing
        return None
    # Of two numbers one is the day and one the year, since the month has a name.
    orders: tuple[str | None, ...] = ("YMD",) if _NUMERIC.search(text) else _ORDERS if numbers > 2 else (None,)
    moments = {_guess(text, order, language) for order in orders} - {None}
    return moments.pop() if len(moments) == 1 else None


def _guess(text: str, order: str | None, language: str | None) -> datetime | None:
    import dateparser  # noqa: PLC0415 - its import takes longer than most commands run

    settings: dict[str, Any] = {
        # Otherwise dateparser takes missing parts from today.
        "REQUIRE_PARTS": ["day", "month", "year"],
        "PARSERS": ["timestamp", "absolute-time"],
        "RETURN_AS_TIMEZONE_AWARE": True,
        "TIMEZONE": "UTC",
        **({"DATE_ORDER": order} if order else {}),
    }
    languages = None
    if needs_language(text):
        if language not in _MONTH_LANGUAGES:
            return None
        languages = [_MONTH_LANGUAGES[language]]
    try:
        moment: datetime | None = dateparser.parse(text, languages=languages, settings=settings)
    except (ArithmeticError, ValueError, TypeError, LookupError):  # dateparser lets these through for odd input
        return None
    return moment


def subtract_age(start: datetime, age: relativedelta) -> datetime | None:
    """Return a date minus an age, in UTC; None for a date before the year 1."""
    try:
        moment: datetime = start.astimezone(UTC) - age
        return moment
    except (ValueError, OverflowError):
        return None
