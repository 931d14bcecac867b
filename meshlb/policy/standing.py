"""What a client thinks of one node from its own calls there, and whether it is to get more.

    FINE --(silent, outrun, failing)--> SHUT --(time is over, or it answers)--> TRIAL --> FINE
                                          ^------------(the first thing wrong)----'

Signs against it: evidence of silence (``overdue``), three calls in a row that another node
answered first, five failures in a row, a failing part of calls far above that of the others
(``outlier``). A node that was silent is fine again as soon as it answers anything; meanwhile the
shell asks its health from time to time, which costs no call of the user's, and an answer puts it
on trial. One that failed, was outrun or was silent again before long is shut for a second first,
twice as long each time, to 30 s, so that one that stops and goes on is not trusted each time. On
trial a node gets one call at once, then twice as many after each look at which calls have ended
well: probation and slow start in one.
"""

from __future__ import annotations

import random
from math import inf

from meshlb.policy.overdue import ENOUGH, ENOUGH_ON_TRIAL

OUTRUN_IN_A_ROW = 3
FAILED_IN_A_ROW = 5
FIRST_S, MOST_S = 1.0, 30.0
"""How long it is shut for failures: at first, and at the most."""
CALM = 4.0
"""Fine for so many times as long as it was shut last, it is as good as new."""
FALSE_ALARM_S = 0.1
"""A silence that ends so soon after it was noticed was none."""
TRUSTED_AT = 16
"""Calls at once on trial, at which the trial is over."""

SILENT = "silent: its calls outlive what calls take"
OUTRUN = "silent: calls there were answered by other nodes first"
FAILED = f"{FAILED_IN_A_ROW} calls failed in a row"
RETURNED = "the controller had ejected it"


class Standing:
    """One node in one client. Written under the lock of its counts; each change returns True."""

    __slots__ = (
        "_allowed", "_before_s", "_failed", "_fine_since", "_good", "_next_s", "_outrun", "_real",
        "_shut_at", "_silent", "_until", "most", "reason", "shut",
    )  # fmt: skip

    def __init__(self) -> None:
        self.shut = False
        """It is to get calls only where there is nothing better."""
        self.most: int | None = None
        """Own calls at once, on trial; None: no limit."""
        self.reason = ""
        """Why it is shut or on trial."""
        self._good = 0
        self._outrun = self._failed = 0
        self._silent = False
        self._until = 0.0
        self._allowed = 0
        self._next_s = FIRST_S
        self._before_s = FIRST_S
        self._shut_at = 0.0
        self._real = False
        """Whether it was shut for more than a false alarm the last time."""
        self._fine_since = -inf

    @property
    def plain(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.shut and self.most is None

    @property
    def silent(self) -> bool:
        """Whether it is shut for its silence: that it is alive is to be found out."""
        return self.shut and self._silent

    def outrun(self, good: int, now: float, rng: random.Random) -> bool:
        """Note a call that another node answered first; ``good``: calls answered here, ever."""
        self._count_from(good)
        self._outrun += 1
        if self.shut or (self._outrun < OUTRUN_IN_A_ROW and self.most is None):
            return False
        return self._shut(OUTRUN, True, now, rng)

    def failed(self, good: int, now: float, rng: random.Random) -> bool:
        """Note a call that failed by the node's fault."""
        self._count_from(good)
        self._failed += 1
        if self.shut or (self._failed < FAILED_IN_A_ROW and self.most is None):
            return False
        return self._shut(FAILED if self.most is None else self.reason, False, now, rng)

    def outlying(self, reason: str, now: float, rng: random.Random) -> bool:
        """Note that it fails far more of its calls than other nodes."""
        return not self.shut and self._shut(reason, False, now, rng)

    def probed(self, in_flight: int, now: float) -> bool:
        """Note that it answered when asked for its health, with so many calls still there."""
        if not self.silent or now < self._until:
            return False
        self._forgive(now)
        return self._try(in_flight)

    def returned(self, good: int, in_flight: int) -> bool:
        """Note that the controller lets it have calls again."""
        if not self.plain:
            return False
        self._count_from(good)
        self.reason = RETURNED
        return self._try(in_flight)

    def look(
        self, good: int, heard: bool, in_flight: int, nepers: float, now: float, rng: random.Random
    ) -> bool:
        """Let time and answers do their part; ``heard``: something came since the last look.

        Of a plain node only evidence that is enough needs to be told.
        """
        if self.shut:
            self._count_from(good)
            if self._silent and heard and now >= self._until:
                self._forgive(now)
                return self._fine(now)
            return not self._silent and now >= self._until and self._try(in_flight)
        better = good != self._good
        self._count_from(good)
        if nepers >= (ENOUGH if self.most is None else ENOUGH_ON_TRIAL):
            return self._shut(SILENT, True, now, rng)
        if self.most is None or not better:
            return False
        self._allowed *= 2
        if self._allowed >= TRUSTED_AT:
            return self._fine(now)
        self.most = in_flight + self._allowed
        return False

    def _count_from(self, good: int) -> None:
        if good != self._good:
            self._good, self._outrun, self._failed = good, 0, 0

    def _shut(self, reason: str, silent: bool, now: float, rng: random.Random) -> bool:
        calm = self.most is None and (
            not self._real or now - self._fine_since > CALM * self._next_s
        )
        if calm:
            self._next_s = FIRST_S
        wait_s = self._next_s * rng.uniform(0.8, 1.2)
        if reason is SILENT and calm:
            wait_s = 0.0  # its health alone says whether it is back
        self._shut_at, self._before_s, self._real = now, self._next_s, True
        self.shut, self.most, self.reason, self._silent = True, None, reason, silent
        self._until = now + wait_s
        self._next_s = min(MOST_S, 2 * self._next_s)
        self._outrun = self._failed = 0
        return True

    def _forgive(self, now: float) -> None:
        """Count a silence for nothing that ended as soon as it was noticed: a false alarm."""
        if now - self._shut_at < FALSE_ALARM_S:
            self._next_s, self._real = self._before_s, False

    def _try(self, in_flight: int) -> bool:
        self.shut, self._allowed = False, 1
        self.most = in_flight + 1
        return True

    def _fine(self, now: float) -> bool:
        self.shut, self.most, self.reason, self._fine_since = False, None, "", now
        return True
