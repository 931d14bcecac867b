"""Simulated model servers: what happens to a call between its arrival and its end.

``arrive`` takes a call in and returns an appointment, a pair of instant and token, or None; the
simulation comes back at that instant with the token by ``leave``, and gets the calls that are
done with the next appointment. A token that was overtaken by events finishes nothing.
"""

from __future__ import annotations

import heapq
import random
from typing import Any, Protocol

from meshlb.model import SpeedCurve

Appointment = tuple[float, Any]


class SimNode(Protocol):
    """A server in virtual time."""

    slots: int | None
    """Slots as its sidecar would declare them."""

    def curve(self) -> SpeedCurve:
        """Return the true speed now."""

    def arrive(self, call: Any, now: float, rng: random.Random) -> Appointment | None:
        """Take a call in; return when to come back, and with what."""

    def leave(self, token: Any, now: float) -> tuple[Any | None, Appointment | None]:
        """Return the call that is done now, and the next appointment."""


class SlotNode:
    """First come, first served over some slots, each exponential in its service time."""

    __slots__ = ("_free_at", "service_s", "slots")

    def __init__(self, service_s: float, slots: int) -> None:
        self.service_s = service_s
        self.slots: int | None = slots
        self._free_at = [0.0] * slots

    def curve(self) -> SpeedCurve:
        """Return base s, slope s/c, knee c."""
        count = len(self._free_at)
        return SpeedCurve(self.service_s, self.service_s / count, float(count))

    def arrive(self, call: Any, now: float, rng: random.Random) -> Appointment:
        """Take the slot that is free first; when the call ends is settled at once."""
        begin = max(now, self._free_at[0])
        end = begin + rng.expovariate(1.0 / self.service_s)
        heapq.heapreplace(self._free_at, end)
        return end, call

    def leave(self, token: Any, now: float) -> tuple[Any, None]:  # noqa: ARG002
        """Return the call."""
        return token, None
