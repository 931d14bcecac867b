"""Times and spans of messages, and the seconds that all else reckons in."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def seconds(span: Duration | Timestamp) -> float:
    """Return a Duration or Timestamp in seconds; wrong ones give what they say, unchecked."""
    return span.seconds + span.nanos / 1e9


def duration(span_s: float) -> Duration:
    """Return seconds as a Duration, to the nanosecond."""
    span = Duration()
    set_duration(span, span_s)
    return span


def set_duration(span: Duration, span_s: float) -> None:
    """Make a Duration these seconds, to the nanosecond."""
    span.seconds = whole = math.floor(span_s)
    span.nanos = min(999_999_999, round((span_s - whole) * 1e9))


def timestamp(unix_s: float) -> Timestamp:
    """Return Unix seconds as a Timestamp, to the microsecond."""
    made = Timestamp()
    made.FromDatetime(datetime.fromtimestamp(unix_s, UTC))
    return made
