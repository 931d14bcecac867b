"""Times as people write and read them."""

from datetime import UTC, datetime, timedelta

import pytest

from meshlb.cli import _times
from meshlb.errors import InvalidInputError

NOW = datetime(2026, 3, 10, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span_s"),
    [("90s", 90), ("10m", 600), ("10 min", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)],
)
def test_spans(text, span_s):
    assert _times.span(text, "--for") == span_s


@pytest.mark.parametrize("text", ["", "2", "0s", "-1s", "1x", "h", "1h x", "400d", "1e9s"])
def test_a_wrong_span_names_field_and_value(text):
    with pytest.raises(InvalidInputError, match="--for = "):
        _times.span(text, "--for")


def test_instants():
    local = NOW.astimezone()
    earlier = (local - timedelta(hours=1)).strftime("%H:%M")
    later = (local + timedelta(hours=1)).strftime("%H:%M:%S")

    assert _times.instant("now", "--at", NOW) == NOW
    assert _times.instant("10m ago", "--at", NOW) == NOW - timedelta(minutes=10)
    assert _times.instant("2026-03-10T13:00:00+01:00", "--at", NOW) == NOW - timedelta(hours=2.5)
    assert _times.instant(earlier, "--at", NOW) == NOW - timedelta(hours=1)
    assert _times.instant(later, "--at", NOW) == NOW - timedelta(hours=23)
    assert _times.past("1d", "--since", NOW) == NOW - timedelta(days=1)


def test_instants_ahead():
    local = NOW.astimezone()
    earlier = (local - timedelta(hours=1)).strftime("%H:%M")
    later = (local + timedelta(hours=1)).strftime("%H:%M:%S")

    assert _times.instant(later, "--until", NOW, ahead=True) == NOW + timedelta(hours=1)
    assert _times.instant(earlier, "--until", NOW, ahead=True) == NOW + timedelta(hours=23)
    for wrong in ("now", "5m ago", "2026-01-01"):
        with pytest.raises(InvalidInputError, match="--until = "):
            _times.instant(wrong, "--until", NOW, ahead=True)


@pytest.mark.parametrize("text", ["25:00", "soon", "", "x ago", "2027-01-01", "12", "14:3"])
def test_a_wrong_instant_names_field_and_value(text):
    with pytest.raises(InvalidInputError, match="--at = "):
        _times.instant(text, "--at", NOW)


@pytest.mark.parametrize(
    ("span_s", "told"),
    [
        (0, "0 s"), (0.44, "0.4 s"), (41.4, "41 s"), (125, "2 min"), (5400, "90 min"),
        (9000, "2 h 30 min"), (7200, "2 h"), (86400 * 2 + 10800, "2 d 3 h"), (86400 * 3, "3 d"),
    ],
)  # fmt: skip
def test_lengths(span_s, told):
    assert _times.length(span_s) == told
