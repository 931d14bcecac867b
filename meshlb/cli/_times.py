"""Times as people write and read them: "2h", "10m ago", "14:03", ISO; all local unless told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from meshlb.errors import InvalidInputError

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(min|[smhd])\s*")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
MOST_S = 366 * 86400.0


def span(text: str, field: str) -> float:
    """Return seconds of "90s", "10m", "1h30m", "2d"; InvalidInputError for anything else."""
    rest, total = text.strip(), 0.0
    while match := _PART.match(rest):
        total += float(match[1]) * _UNITS[match[2]]
        rest = rest[match.end() :]
    if rest or not 0 < total <= MOST_S:
        raise InvalidInputError(
            f'{field} = {text!r}: a span such as "90s", "10m", "1h30m" or "2d", at most 366d'
        )
    return total


def instant(text: str, field: str, now: datetime, *, ahead: bool = False) -> datetime:
    """Return a time up to ``now``, or after it; InvalidInputError for another, or none.

    Knows ISO ("2026-03-01T14:03:20+01:00", "2026-03-01 14:03"; local without an offset), "14:03"
    and "14:03:20" (the last, or next, time that it is so late), "10m ago", and "now".
    """
    local = now.astimezone()
    words = text.strip()
    if words == "now" and not ahead:
        return local
    if words.endswith(" ago") and not ahead:
        return local - timedelta(seconds=span(words.removesuffix(" ago"), field))
    if match := _CLOCK.fullmatch(words):
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour < 24 and minute < 60 and second < 60:
            day = local.replace(hour=hour, minute=minute, second=second, microsecond=0, tzinfo=None)
            # The offset is that of that hour, not of now.
            days = [(day + timedelta(days=off)).astimezone() for off in (-1, 0, 1)]
            return (
                min(d for d in days if d > local) if ahead else max(d for d in days if d <= local)
            )
    else:
        try:
            at = datetime.fromisoformat(words).astimezone()
        except (ValueError, OverflowError):
            pass
        else:
            if (at > local) is not ahead:
                which = "lies ahead" if ahead else "is past"
                raise InvalidInputError(f"{field} = {text!r}: a time that {which}")
            return at
    such = '"18:30" or' if ahead else '"14:03", "10m ago" or'
    raise InvalidInputError(f'{field} = {text!r}: a time such as {such} "2026-03-01T14:03:20"')


def past(text: str, field: str, now: datetime) -> datetime:
    """Return where a stretch up to ``now`` begins: a span such as "1d", or what ``instant`` knows.

    Raises InvalidInputError as that does.
    """
    try:
        return now.astimezone() - timedelta(seconds=span(text, field))
    except InvalidInputError:
        return instant(text, field, now)


def stamp(at: datetime) -> Timestamp:
    """Return a time as a message."""
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made


def local(at: Timestamp) -> datetime:
    """Return a message's time, in the local zone."""
    return at.ToDatetime(UTC).astimezone()


def clock(at: datetime, now: datetime) -> str:
    """Return "14:03:22", with the date unless it is today's."""
    at, now = at.astimezone(), now.astimezone()
    return at.strftime("%H:%M:%S" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def length(span_s: float) -> str:
    """Return "0.4 s", "41 s", "12 min", "1 h 30 min", "2 d 3 h"."""
    if span_s < 10 and span_s != int(span_s):
        return f"{span_s:.1f} s"
    whole = round(span_s)
    if whole < 120:
        return f"{whole} s"
    minutes = round(span_s / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(span_s / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
