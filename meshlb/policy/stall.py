"""Whether a node answers at all: calls there that were asked elsewhere too, and lost.

A frozen server keeps its connections, so nothing fails there. But all that is asked of it twice is
answered by the other node first. Three such calls in a row, with none that ended well between, and
the node is left alone for a second, then for twice as long each time, as Envoy ejects hosts.
"""

from __future__ import annotations

IN_A_ROW = 3
FIRST_S, MOST_S = 1.0, 10.0


class Stall:
    """One node in one client. Written under the lock of its counts."""

    __slots__ = ("_lost", "_next_s", "_succeeded", "_until", "stalled")

    def __init__(self) -> None:
        self._lost = 0
        self._succeeded = 0
        self._next_s = FIRST_S
        self._until = 0.0
        self.stalled = False
        """It is to get calls only where there is no other node."""

    def outrun(self, succeeded: int, now: float) -> bool:
        """Note a call that another node answered first; return whether ``stalled`` changed.

        ``succeeded``: calls that ended well here, ever.
        """
        if succeeded != self._succeeded:
            self._succeeded, self._lost, self._next_s = succeeded, 0, FIRST_S
        self._lost += 1
        if self._lost < IN_A_ROW or self.stalled:
            return False
        self.stalled = True
        self._until = now + self._next_s
        self._next_s = min(MOST_S, 2 * self._next_s)
        return True

    def look(self, now: float) -> bool:
        """Let it have calls again once its time is over; return whether ``stalled`` changed."""
        if not self.stalled or now < self._until:
            return False
        self.stalled = False
        self._lost = IN_A_ROW - 1  # on trial: the next one decides
        return True
