"""How long to wait for an answer before the same is asked of another node.

The 95th percentile of what a method's calls lately took, so that one call in twenty is asked twice
where all is well, and next to none waits for a node that hangs. Source: Dean and Barroso, The Tail
at Scale (2013); gRFC A6.
"""

from __future__ import annotations

QUANTILE = 0.95
KEPT = 200
"""Latencies that the percentile is taken of, the newest."""
LEAST_KNOWN = 20
"""Fewer say nothing of a twentieth."""
LOOK_EVERY = 20
"""Calls between two looks at them: sorting is dear."""
LEAST_S = 0.001


class HedgeDelay:
    """One method of one channel. Written by many threads: what one of them loses is a sample."""

    __slots__ = ("_at", "_delay_s", "_fixed_s", "_latest")

    def __init__(self, fixed_s: float | None = None) -> None:
        """Wait ``fixed_s`` always; None: as measured."""
        self._fixed_s = fixed_s
        self._latest: list[float] = []
        self._at = 0
        self._delay_s: float | None = None

    def observe(self, latency_s: float) -> None:
        """Take in what a call took that ended well."""
        if self._fixed_s is not None:
            return
        latest, self._at = self._latest, self._at + 1
        if len(latest) < KEPT:
            latest.append(latency_s)
        else:
            latest[self._at % KEPT] = latency_s
        if len(latest) >= LEAST_KNOWN and self._at % LOOK_EVERY == 0:
            ordered = sorted(latest)
            self._delay_s = max(LEAST_S, ordered[int(QUANTILE * len(ordered))])

    def seconds(self) -> float | None:
        """Return the time to wait; None: too little is known, nothing is asked twice."""
        return self._delay_s if self._fixed_s is None else self._fixed_s
