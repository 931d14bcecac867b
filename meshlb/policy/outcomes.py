"""How one node's calls end, of all clients together, as far as ejection goes by it."""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.load import failing_part


@dataclass(frozen=True, slots=True)
class Ejection:
    """Why one node is ejected, and until when; None: for as long as clients say so."""

    reason: str
    until: float | None


class Outcomes:
    """One node's calls of all clients, as far as ejection goes by them."""

    __slots__ = ("_tick", "ejection", "failing", "in_a_row", "returned_at", "times", "window")

    def __init__(self) -> None:
        self.in_a_row = 0
        """Calls that failed since a report told of one that ended well."""
        self.window = (0, 0)
        """Calls that ended well, and that failed, since the last comparison."""
        self.failing = 0.0
        """Part of the calls that fail, of late."""
        self.ejection: Ejection | None = None
        self.times = 0
        """How often it was ejected; one less for each calm ``eject_max_s``."""
        self.returned_at = 0.0
        self._tick = (0, 0)

    def add(self, good: int, failed: int) -> None:
        """Take in what one client tells anew."""
        # In which order one report's calls ended is not told: with a good one they are no row.
        self.in_a_row = 0 if good else self.in_a_row + failed
        self.window = self.window[0] + good, self.window[1] + failed
        self._tick = self._tick[0] + good, self._tick[1] + failed

    def tick(self, elapsed_s: float) -> None:
        """Bring the failing part up to now."""
        if self.failing or self._tick[1]:
            self.failing = failing_part(self.failing, *self._tick, elapsed_s)
        self._tick = (0, 0)
