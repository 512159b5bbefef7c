"""Parsing of dates; a date with several readings is rejected."""

import re
import unicodedata
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

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
_UNIX_TIME = {10: 10**6, 13: 10**3, 16: 1}  # microseconds of the unit, by the number of digits
_ORDERS = ("DMY", "MDY", "YMD")  # of day, month and year that some country uses


def parse_date(value: object) -> datetime | None:
    """Read a date with at least day, month and year; one without a time zone is taken as UTC.

    Args:
        value: a datetime, a text in ISO 8601 or as people write dates, or seconds since 1970 (or milliseconds).

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
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) >= 10**MAX_DATE_CHARS:
        return None
    text = str(int(value)) if isinstance(value, float) and value == value // 1 else str(value).strip()
    if not text or len(text) > MAX_DATE_CHARS:
        return None
    if text.isascii() and text.isdigit() and len(text) != 8:  # fromisoformat reads some of them as a day and a time
        microseconds = _UNIX_TIME.get(len(text))
        return _EPOCH + timedelta(microseconds=int(text) * microseconds) if microseconds else None
    if not text.isascii():  # browsers format dates with marks of the writing direction in them
        text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    weekday = _WEEKDAY.search(text)
    for numbers in reversed(list(_NUMERIC.finditer(text))):
        days = _readings(numbers)
        if weekday and len(days) > 1:
            days = {day for day in days if _WEEKDAYS[day.weekday()] == weekday[1].lower()}
        if len(days) != 1:
            return None
        text = f"{text[: numbers.start()]}{days.pop().isoformat()}{text[numbers.end() :]}"
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = _by_words(text)
    if moment is None:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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


def _by_words(text: str) -> datetime | None:
    """Return the moment that dateparser reads in a text; None if it depends on the order of the numbers."""
    numbers = len(re.findall(r"\d+", _CLOCK.sub(" ", text)))
    if numbers < 2:  # the day or the year is missing
        return None
    # Of two numbers one is the day and one the year, since the month has a name.
    orders: tuple[str | None, ...] = ("YMD",) if _NUMERIC.search(text) else _ORDERS if numbers > 2 else (None,)
    moments = {_guess(text, order) for order in orders} - {None}
    return moments.pop() if len(moments) == 1 else None


def _guess(text: str, order: str | None) -> datetime | None:
    import dateparser  # noqa: PLC0415 - its import takes longer than most commands run

    settings: dict[str, Any] = {
        # Otherwise dateparser takes missing parts from today.
        "REQUIRE_PARTS": ["day", "month", "year"],
        "PARSERS": ["timestamp", "absolute-time"],
        "RETURN_AS_TIMEZONE_AWARE": True,
        "TIMEZONE": "UTC",
        **({"DATE_ORDER": order} if order else {}),
    }
    try:
        moment: datetime | None = dateparser.parse(text, settings=settings)
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
