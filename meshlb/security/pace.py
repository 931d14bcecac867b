"""How fast messages of one stream are taken: a token bucket that follows the pace ordered. Pure."""

from __future__ import annotations

WORK_BURST_S, WORK_PART = 0.25, 0.1
"""Work that one stream may cost at once, and the part of the controller's time that it may after.
What costs so much is a flood of great messages; those of usual size cost a hundredth of that."""
MOST_REST_S = 5.0


class Pace:
    """One stream's buckets: it may be ahead by ``burst`` messages of twice the pace ordered."""

    __slots__ = ("_at", "_burst", "_left", "_work_left_s", "slowed")

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = self._burst
        self._work_left_s = WORK_BURST_S
        self._at = now
        self.slowed = 0
        """Messages after which the stream had to wait."""

    def wait_s(self, interval_s: float, now: float, spent_s: float = 0.0) -> float:
        """Count one message; return how long not to read the next, 0 for a stream in order.

        ``spent_s``: what the message has cost, in seconds of work.
        """
        rate = 2.0 / interval_s
        elapsed_s, self._at = now - self._at, now
        self._left = min(self._burst, self._left + elapsed_s * rate) - 1.0
        self._work_left_s = min(WORK_BURST_S, self._work_left_s + elapsed_s * WORK_PART) - spent_s
        early_s, rest_s = -self._left / rate, -self._work_left_s / WORK_PART
        if early_s <= 0.0 and rest_s <= 0.0:
            return 0.0
        self.slowed += 1
        return max(early_s, min(MOST_REST_S, rest_s))
