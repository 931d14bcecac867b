"""How long one attempt of a call that may be sent twice can take, before another node is asked.

A server that is frozen keeps its connections, so a call there would wait for its deadline. Four
times what 95 calls in 100 lately took is longer than nearly all of them take, and far shorter than
most deadlines. It grows with the calls: where all nodes become slow, what the calls' last attempts
take, which are never cut short, raises it.
"""

from __future__ import annotations

from meshlb.policy.hedge_delay import HedgeDelay

TIMES_P95 = 4.0
LEAST_S = 0.1
"""Nothing shorter is guessed: a pause of a healthy server may take so long."""


class AttemptLimit:
    """One method of one channel. Written by many threads: what one of them loses is a sample."""

    __slots__ = ("_fixed_s", "_p95", "wanted")

    def __init__(self, fixed_s: float | None = None) -> None:
        """Allow ``fixed_s`` always, 0: any time; None: as measured."""
        self._fixed_s = fixed_s
        self._p95 = HedgeDelay()
        self.wanted = False
        """Somebody has asked, so that it pays to observe."""

    def observe(self, latency_s: float) -> None:
        """Take in what an attempt took to its first message, or took in vain to its deadline."""
        if self.wanted and self._fixed_s is None:
            self._p95.observe(latency_s)

    def seconds(self, left_s: float | None = None) -> float | None:
        """Return the time that an attempt may take; None: any, or too little is known.

        Where the call has only ``left_s`` left, half of that is kept for the next attempt, but none
        is cut shorter than half of what it may take else.
        """
        self.wanted = True
        if self._fixed_s is not None:
            return self._fixed_s or None
        p95 = self._p95.seconds()
        if p95 is None:
            return None
        most_s = max(LEAST_S, TIMES_P95 * p95)
        return most_s if left_s is None else min(most_s, max(most_s / 2, left_s / 2))
