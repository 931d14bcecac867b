"""Nodes that a controller only hears of: clients' calls succeed there, but no report has come.

A controller that has just started and is cut off from sidecars knows less than its clients do, who
go by another's table. As long as it hears of such nodes it does not call its tables complete.
"""

from __future__ import annotations

from collections.abc import Container

LATELY_S = 5.0
"""So long after a call succeeded there a node is taken to be there still."""


class Hearsay:
    """Of one service, from its controller's start until its tables are complete."""

    __slots__ = ("_at", "complete")

    def __init__(self) -> None:
        self.complete = False
        """Whether its tables are; once they are, they stay so."""
        self._at: dict[str, float] = {}

    def called(self, node_id: str, now: float) -> None:
        """Note that a call succeeded at a node that has not reported."""
        if not self.complete:
            self._at[node_id] = now

    def look(
        self, known: Container[str], running_s: float, grace_s: float, most_s: float, now: float
    ) -> bool:
        """Return whether tables are complete, ``running_s`` after the controller's start.

        They are after ``grace_s``, unless nodes are missing that clients call; and for sure
        ``most_s`` later, since a sidecar may be gone for good.
        """
        if self.complete or running_s < grace_s:
            return self.complete
        missing = any(now - at <= LATELY_S and key not in known for key, at in self._at.items())
        if not missing or running_s >= grace_s + most_s:
            self.complete = True
            self._at.clear()
        return self.complete
