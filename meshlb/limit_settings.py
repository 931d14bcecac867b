"""What is allowed as classes of calls in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlb.checks import NAME

MOST_CLASSES = 16
ALLOWED = (
    f"a table of at most {MOST_CLASSES} names (1 to 128 characters of A-Z a-z 0-9 . _ -), the most "
    "important first, each with the part of the limit that it may always use; from 0 to 1, and at "
    "most 1 together"
)


def priorities_fault(value: Any) -> str | None:
    """Return what is allowed, if ``value`` is not; None for good classes."""
    if not isinstance(value, Mapping) or len(value) > MOST_CLASSES:
        return ALLOWED
    for name, floor in value.items():
        number = isinstance(floor, (int, float)) and not isinstance(floor, bool)
        if not NAME.match(name) or not number or not 0 <= floor <= 1:
            return ALLOWED
    return None if sum(value.values()) <= 1 + 1e-9 else ALLOWED
