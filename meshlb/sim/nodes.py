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


class BatchNode:
    """An engine that runs all calls together, one token each an iteration (continuous batching).

    An iteration takes ``step_s + step_per_call_s x running``; a call needs an exponential number
    of iterations. Calls beyond ``most`` wait.
    """

    __slots__ = (
        "_done", "_ends", "_number", "_seen_at", "_waiting", "mean_steps", "most", "slots",
        "step_per_call_s", "step_s",
    )  # fmt: skip

    def __init__(
        self, step_s: float, step_per_call_s: float, mean_steps: float, most: int = 64
    ) -> None:
        self.step_s = step_s
        self.step_per_call_s = step_per_call_s
        self.mean_steps = mean_steps
        self.most = most
        self.slots: int | None = most
        self._done = 0.0
        self._seen_at = 0.0
        self._number = 0
        self._ends: list[tuple[float, int, Any]] = []
        self._waiting: list[tuple[float, Any]] = []

    def curve(self) -> SpeedCurve:
        """Return the line of latency over the number running."""
        per = self.step_per_call_s * self.mean_steps
        return SpeedCurve(self.step_s * self.mean_steps + per, per, 1.0)

    def arrive(self, call: Any, now: float, rng: random.Random) -> Appointment | None:
        """Add the call to the batch, or to the queue if the batch is full."""
        self._progress(now)
        steps = rng.expovariate(1.0 / self.mean_steps)
        if len(self._ends) >= self.most:
            self._waiting.append((steps, call))
            return None
        return self._admit(steps, call, now)

    def leave(self, token: Any, now: float) -> tuple[Any | None, Appointment | None]:
        """Return the call whose last iteration ran, unless the batch changed meanwhile."""
        if token != self._number or not self._ends:
            return None, None
        self._progress(now)
        _, _, call = heapq.heappop(self._ends)
        if self._waiting:
            return call, self._admit(*self._waiting.pop(0), now)
        return call, self._next(now)

    def _admit(self, steps: float, call: Any, now: float) -> Appointment | None:
        heapq.heappush(self._ends, (self._done + steps, self._number, call))
        return self._next(now)

    def _next(self, now: float) -> Appointment | None:
        self._number += 1
        if not self._ends:
            return None
        left = max(0.0, self._ends[0][0] - self._done)
        return now + left * self._step(), self._number

    def _progress(self, now: float) -> None:
        if self._ends:
            self._done += (now - self._seen_at) / self._step()
        self._seen_at = now

    def _step(self) -> float:
        return self.step_s + self.step_per_call_s * len(self._ends)
