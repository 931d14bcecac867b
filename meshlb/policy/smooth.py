"""Exponential averages of values that come at uneven times."""

from __future__ import annotations

import math


class Smooth:
    """A running mean with time constant ``tau_s``; None until the first value."""

    __slots__ = ("_at", "_tau_s", "value")

    def __init__(self, tau_s: float) -> None:
        self._tau_s = tau_s
        self._at = 0.0
        self.value: float | None = None

    def add(self, value: float, now: float) -> float:
        """Take a value in, and return the mean."""
        if self.value is None:
            self.value = value
        else:
            keep = math.exp(-max(0.0, now - self._at) / self._tau_s)
            self.value = self.value * keep + value * (1.0 - keep)
        self._at = now
        return self.value
