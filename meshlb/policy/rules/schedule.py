"""Windows of the week that move the bounds: at least so many, at most so many.

The policy's own bounds are the outermost, so a window raises the least or lowers the most. Of
several windows at once all hold; windows that contradict each other are faults of the policy.
A window may run over midnight: its days are those on which it begins. Local time, daylight saving
included, by the IANA time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from meshlb.policy import scale_load
from meshlb.scale_model import Inputs, Verb, Want

BOUNDS = True
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY, WEEK = 1440, 7 * 1440
_KEYS = ("days", "start", "end", "zone", "min", "max")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z|24:00\Z")
_SEASONS = (datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 7, 7, tzinfo=UTC))
"""Mondays of winter and summer: windows of several zones are compared at both."""


@dataclass(frozen=True, slots=True)
class Params:
    """Windows, each a table of ``days`` (default all), ``start``, ``end``, ``zone``, min, max."""

    windows: Sequence[Mapping[str, Any]] = ()
    """``days``: mon to sun; ``start`` and ``end``: "HH:MM", the end not included, "24:00" allowed;
    ``zone``: as "Europe/Berlin", default UTC; ``min`` and ``max``: nodes, one or both."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        if isinstance(self.windows, (str, bytes, Mapping)) or not isinstance(
            self.windows, Sequence
        ):
            return [f"windows = {self.windows!r}: a list of tables"]
        if not 1 <= len(self.windows) <= 100:
            return [f"windows = {len(self.windows)} tables: 1 to 100"]
        wrong = [
            fault
            for at, window in enumerate(self.windows)
            for fault in _window_faults(window, f"windows[{at}]")
        ]
        return wrong or list(_contradictions(self.windows))


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return AT_LEAST and AT_MOST of the windows that are open now."""
    found: list[Want] = []
    for window in params.windows:
        if not _open(window, inputs.now):
            continue
        zone = window.get("zone", "UTC")
        reason = f"{window.get('start', '00:00')} to {window.get('end', '24:00')} {zone}"
        if window.get("min") is not None:
            found.append(Want(name, Verb.AT_LEAST, int(window["min"]), reason))
        if window.get("max") is not None:
            found.append(Want(name, Verb.AT_MOST, int(window["max"]), reason))
    return tuple(found)


def _open(window: Mapping[str, Any], now: float) -> bool:
    local = datetime.fromtimestamp(now, ZoneInfo(window.get("zone", "UTC")))
    minute = local.hour * 60 + local.minute
    start, end = _span(window)
    days = window.get("days", DAYS)
    if start <= minute < end and DAYS[local.weekday()] in days:
        return True
    # begun yesterday, and over midnight
    return minute < end - DAY and DAYS[local.weekday() - 1] in days


def _span(window: Mapping[str, Any]) -> tuple[int, int]:
    """Return the minutes of the day at which it begins and ends; the end may be tomorrow's."""
    start = _minutes(window.get("start", "00:00"))
    end = _minutes(window.get("end", "24:00"))
    return (start, end if end > start else end + DAY)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _window_faults(window: Any, at: str) -> Iterator[str]:
    if not isinstance(window, Mapping):
        yield f"{at} = {window!r}: a table"
        return
    for key in window:
        if key not in _KEYS:
            yield f"{at}.{key} = {window[key]!r}: not a key; known: {', '.join(_KEYS)}"
    days = window.get("days", DAYS)
    if (
        isinstance(days, str)
        or not isinstance(days, Sequence)
        or not days
        or any(day not in DAYS for day in days)
    ):
        yield f"{at}.days = {days!r}: a list of {', '.join(DAYS)}"
    for key, default in (("start", "00:00"), ("end", "24:00")):
        text = window.get(key, default)
        if not isinstance(text, str) or not _TIME.match(text):
            yield f'{at}.{key} = {text!r}: a time of day as "08:30"'
    zone = window.get("zone", "UTC")
    if not _known(zone):
        yield f'{at}.zone = {zone!r}: a time zone as "Europe/Berlin"'
    yield from _count_faults(window, at)


def _count_faults(window: Mapping[str, Any], at: str) -> Iterator[str]:
    most = scale_load.MOST_NODES
    given = {key: window[key] for key in ("min", "max") if window.get(key) is not None}
    if not given:
        yield f"{at}: min, max or both"
    bad = False
    for key, value in given.items():
        if not scale_load.is_number(value, 0, most, integer=True):
            bad = True
            yield f"{at}.{key} = {value!r}: a whole number from 0 to {most:,}"
    if not bad and len(given) == 2 and given["min"] > given["max"]:
        yield f"{at}.min = {given['min']:g}: at most max ({given['max']:g})"


def _known(zone: Any) -> bool:
    if not isinstance(zone, str) or not zone:
        return False
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True


def _contradictions(windows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Find windows of which one wants more than another allows at the same time."""
    for low_at, low in enumerate(windows):
        for high_at, high in enumerate(windows):
            least, most = low.get("min"), high.get("max")
            if least is None or most is None or least <= most or low_at == high_at:
                continue
            if any(_overlap(low, high, monday) for monday in _SEASONS):
                yield (
                    f"windows[{low_at}].min = {least:g}: at most windows[{high_at}].max "
                    f"({most:g}), since they overlap"
                )


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any], monday: datetime) -> bool:
    others = list(_minutes_of_week(other, monday))
    return any(
        a < d + shift and c + shift < b
        for a, b in _minutes_of_week(one, monday)
        for c, d in others
        for shift in (-WEEK, 0, WEEK)
    )


def _minutes_of_week(window: Mapping[str, Any], monday: datetime) -> Iterator[tuple[int, int]]:
    """Yield its spans in minutes of the week, UTC."""
    offset = monday.astimezone(ZoneInfo(window.get("zone", "UTC"))).utcoffset() or timedelta()
    ahead = int(offset.total_seconds() // 60)
    start, end = _span(window)
    for day in window.get("days", DAYS):
        at = DAYS.index(day) * DAY - ahead
        yield at + start, at + end
