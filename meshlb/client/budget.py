"""How many retries a client may add to the load, pure."""

from __future__ import annotations


class RetryBudget:
    """Holds retries after a server's own status to 20 % of calls and 10 a second (Finagle)."""

    RATIO, PER_S, MOST = 0.2, 10.0, 100.0

    def __init__(self) -> None:
        self._tokens = self.MOST
        self._started = 0
        self._at: float | None = None

    def take(self, started: int, now: float) -> bool:
        """Return whether one more retry may be made; ``started``: attempts started so far."""
        self._tokens, self._started, self._at = self._earned(started, now), started, now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def owe(self, started: int, now: float) -> None:
        """Note a retry that is made whatever is left, which may be nothing, but no debt."""
        left = max(0.0, self._earned(started, now) - 1.0)
        self._tokens, self._started, self._at = left, started, now

    def has_room(self, started: int, now: float) -> bool:
        """Return whether ``take`` would allow a retry now."""
        return self._tokens >= 1.0 or self._earned(started, now) >= 1.0

    def _earned(self, started: int, now: float) -> float:
        elapsed_s = 0.0 if self._at is None else max(0.0, now - self._at)
        earned = self.RATIO * max(0, started - self._started) + self.PER_S * elapsed_s
        return min(self.MOST, self._tokens + earned)
