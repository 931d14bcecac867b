"""Exponential averages of values that come at uneven times."""

from __future__ import annotations

from math import exp


class Smooth:
    """A running mean with time constant ``tau_s``; None until the first value."""

    __slots__ = ("_at", "_tau_s", "value")

    def __init__(self, tau_s: float) -> None:
        self._tau_s = tau_s
        self._at = 0.0
        self.value: float | None = None

    def add(self, value: float, now: float) -> float:
        """Take a value in, and return the mean."""
        known = self.value
        if known is not None:
            elapsed = now - self._at
            if elapsed > 0.0:
                keep = exp(-elapsed / self._tau_s)
                value = known * keep + value * (1.0 - keep)
            else:
                value = known
        self._at = now
        self.value = value
        return value
