"""What is allowed in a message, and how to say what is not."""

from __future__ import annotations

import re
import sys

from meshlb.errors import InvalidInputError

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
FINITE = sys.float_info.max
MOST_COUNT = 2**53
"""Of anything counted: up to here floats are exact, and a thousand of these add up in 64 bits."""
MOST_AT_ONCE = 2**40
"""Calls in flight, or waiting, of one reporter."""
MOST_SPAN_S = 315_576_000_000.0
"""What a Duration may hold, 10,000 years."""
MOST_TIME_S = 253_402_300_799.0
"""Last second of the year 9999: what a Timestamp may hold."""


class Faults:
    """Collects what is wrong with one message, so that all of it is told at once."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[str] = []

    def name(self, field: str, value: str) -> None:
        """Note a service name that is none."""
        if not NAME.match(value):
            self.found.append(
                f"{field} = {value[:140]!r}: 1 to 128 characters of A-Z a-z 0-9 . _ -"
            )

    def text(self, field: str, value: str, least: int, most: int) -> None:
        """Note a text of wrong length."""
        if not least <= len(value) <= most:
            self.found.append(f"{field} = {value[:140]!r}: {least} to {most} characters")

    def number(self, field: str, value: float, most: float | None = None) -> None:
        """Note a number that is not finite, negative, or above ``most``."""
        if not 0 <= value <= (FINITE if most is None else most):
            allowed = "finite, 0 or more" if most is None else f"from 0 to {most:.15g}"
            self.found.append(f"{field} = {value}: {allowed}")

    def positive(self, field: str, value: float) -> None:
        """Note a number that is not finite or not above 0."""
        if not 0 < value <= FINITE:
            self.found.append(f"{field} = {value}: finite, above 0")

    def span(self, field: str, value_s: float) -> None:
        """Note a span, in seconds, that is negative or more than a Duration holds."""
        self.number(field, value_s, MOST_SPAN_S)

    def count(self, field: str, size: int, most: int) -> None:
        """Note a list that is too long."""
        if size > most:
            self.found.append(f"{field}: {size} entries: at most {most}")

    def address(self, field: str, value: str) -> None:
        """Note an address that cannot be dialled."""
        try:
            parse_address(value)
        except InvalidInputError as error:
            self.found.append(f"{field} = {value[:140]!r}: {error.faults[0].partition(': ')[2]}")

    def done(self, reason: str) -> None:
        """Raise InvalidInputError with all that was noted, if anything was."""
        if self.found:
            raise InvalidInputError(self.found, reason=reason)


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of "HOST:PORT" or "[IPV6]:PORT".

    Raises InvalidInputError unless the host is there and the port is from 1 to 65535.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    good = bool(colon and host and port.isascii() and port.isdigit() and len(text) <= 300)
    good = good and not re.search(r"[\s/,@]", host) and (":" not in host or bracketed)
    if not good or not 1 <= int(port) <= 65535:
        raise InvalidInputError(
            f"address = {text[:140]!r}: HOST:PORT or [IPV6]:PORT, port from 1 to 65535",
            reason="INVALID_ADDRESS",
        )
    return (host[1:-1] if bracketed else host), int(port)
