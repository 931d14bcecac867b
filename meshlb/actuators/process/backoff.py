"""How long to wait before the next start, by the failures in a row. Pure."""

from __future__ import annotations

import math


class BackOff:
    """Doubles from ``first_s`` to ``most_s``; what starts together and fails together counts once.

    The first start never waits, nor does the first after something that ran well.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._failed_at = -math.inf
        self.count = 0
        """Failures in a row."""

    def failed(self, begun_at: float, now: float) -> None:
        """Count one that was begun then and has failed now."""
        if begun_at >= self._failed_at:
            self.count += 1
            self._failed_at = now

    def steady(self) -> None:
        """Forget failures: one has run for a while."""
        self.count = 0

    def wait_s(self, now: float) -> float:
        """Return how long the next start must wait, in seconds."""
        if self.count == 0:
            return 0.0
        # 2 ** 60 times anything is beyond any limit, and still a number.
        delay_s = min(self._most_s, self._first_s * 2.0 ** min(60, self.count - 1))
        return max(0.0, self._failed_at + delay_s - now)
