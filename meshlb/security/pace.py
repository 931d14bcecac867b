"""How fast messages of one stream are taken: a token bucket that follows the pace ordered. Pure."""

from __future__ import annotations


class Pace:
    """One stream's bucket: it may be ahead by ``burst`` messages of twice the pace ordered."""

    __slots__ = ("_at", "_burst", "_left", "slowed")

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = self._burst
        self._at = now
        self.slowed = 0
        """Messages after which the stream had to wait."""

    def wait_s(self, interval_s: float, now: float) -> float:
        """Count one message; return how long not to read the next, 0 for a stream in order."""
        rate = 2.0 / interval_s
        self._left = min(self._burst, self._left + (now - self._at) * rate) - 1.0
        self._at = now
        if self._left >= 0.0:
            return 0.0
        self.slowed += 1
        return -self._left / rate
