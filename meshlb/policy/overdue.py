"""Whether a node's calls outlive what calls take: the evidence that it is frozen or cut off.

A frozen server keeps its connections, so nothing fails there; it is only silent. Of the calls
that began since it was last heard, each is still without an answer at some age, which a node in
order lets happen to a part S(age) of its calls. Taken together they speak with

    evidence = sum of -ln S(age)

nepers: how unlikely that much silence is there. S is what this client measured of late at all
nodes; beyond the longest call that it has seen, the tail of a Pareto law with exponent 2. Calls
that were there before the node was last heard say nothing: what takes long takes long. So a mix of
5 ms and 5 s calls raises no alarm while the short ones end.

Nothing is noted call by call: counts are looked at a few dozen times a second.
"""

from __future__ import annotations

from collections import deque
from math import log, log2

ENOUGH = 8.0
"""Nepers: in 1 of 3,000 waits by chance, which costs a node its new calls until its next answer."""
ENOUGH_ON_TRIAL = 4.0
LEAST_SILENCE_S = 0.1
"""Less is a pause that any process makes."""

TAIL = 2.0
"""Exponent of the Pareto tail: heavy, with a mean and no variance."""

LEAST_KNOWN, UNKNOWN_S = 10.0, 1.0
"""With fewer calls measured any may take so long."""

_LEAST_S = 1e-4
_PER_OCTAVE = 4
_BINS = 1 + 24 * _PER_OCTAVE
_KEPT = 400
"""Latencies at which the older half is forgotten."""
_LEAST_COUNT = 0.1
"""What is left of one call after four times is forgotten."""
_OWN_WEIGHT = 0.1
LN_2 = log(2.0)
_MOST_LOOKS = 64
_FEW = 2


class Latencies:
    """How long calls take to their first answer, as sampled at looks; old ones are forgotten."""

    __slots__ = ("_counts", "_mean_s", "_top", "_total")

    def __init__(self) -> None:
        self._counts = [0.0] * _BINS
        self._total = 0.0
        self._top = 0
        """Bin of the longest call."""
        self._mean_s: float | None = None

    def add(self, latency_s: float) -> None:
        """Take one in, in seconds."""
        at = _bin(latency_s)
        self._counts[at] += 1.0
        self._top = max(self._top, at)
        self._total += 1.0
        mean_s = self._mean_s
        self._mean_s = (
            latency_s if mean_s is None else mean_s + (latency_s - mean_s) / min(self._total, _KEPT)
        )
        if self._total >= _KEPT:
            self._counts = [count / 2 if count > _LEAST_COUNT else 0.0 for count in self._counts]
            self._total = sum(self._counts)
            self._top = max(at for at, count in enumerate(self._counts) if count)

    def nepers(self, age_s: float) -> float:
        """Return -ln of the part of calls that take longer."""
        at = _bin(age_s)
        if self._total < LEAST_KNOWN:
            found, top = 0.0, max(self._top, _bin(UNKNOWN_S))
        else:
            found, top = log((self._total + 1.0) / (sum(self._counts[at:]) + 1.0)), self._top
        beyond = at - top
        return found + TAIL * LN_2 / _PER_OCTAVE * beyond if beyond > 0 else found

    def slowness(self, mean_s: float | None) -> float:
        """Return by what factor calls of that mean latency take longer than all; at least 1."""
        if mean_s is None or not self._mean_s:
            return 1.0
        return max(1.0, mean_s / self._mean_s)


class Silence:
    """One node's calls since it was last heard, from its counts at each look."""

    __slots__ = (
        "_asked", "_begun", "_found", "_heard", "_lost", "_own_s", "_since", "_started",
    )  # fmt: skip

    def __init__(self) -> None:
        self._begun: deque[tuple[float, int]] = deque(maxlen=_MOST_LOOKS)
        """About when how many calls began; the oldest are left out where there are many."""
        self._asked = False
        """A call has begun since it was last heard."""
        self._heard = -1
        self._lost = self._found = 0.0
        """Evidence of calls that have ended without an answer, and of those that run."""
        self._started = 0
        self._since = 0.0
        """Since when it is silent: it was heard, or was first asked after that."""
        self._own_s: float | None = None
        """Mean latency there."""

    def heard(self, count: int) -> bool:
        """Return whether the node answered anything since the last look."""
        return count != self._heard

    def answered(self, latency_s: float) -> None:
        """Take in how long a call there took."""
        own_s = self._own_s
        self._own_s = latency_s if own_s is None else own_s + _OWN_WEIGHT * (latency_s - own_s)

    def look(self, started: int, heard: int, in_flight: int, now: float, since_s: float) -> None:
        """Note the counts: attempts begun, answers and messages seen, attempts without an end.

        ``since_s``: time since the last look.
        """
        begun = started - self._started
        if heard != self._heard:
            self._begun.clear()
            self._lost = self._found = 0.0
            if 0 < begun <= _FEW:  # as good as begun after it was heard
                self._begun.append((now, begun))
            self._heard, self._started, self._since = heard, started, now
            self._asked = bool(self._begun)
            return
        if begun > 0 and not self._asked:  # a node that nobody asks is not silent
            self._asked, self._since = True, now
        if in_flight <= 0:  # they ran into their deadlines, or were given up
            self._begun.clear()
            self._lost, self._found = self._lost + self._found, 0.0
            self._started = started
        elif started != self._started:
            self._begun.append((now - since_s / 2, begun))
            self._started = started

    def alive(self) -> None:
        """Note that the server answered something else: the calls that are there say no more."""
        self._heard = -1

    def held_up(self, gap_s: float) -> None:
        """Note that nobody could listen for so long: that silence was our own."""
        self._since += gap_s
        self._begun = deque([(at + gap_s, n) for at, n in self._begun], _MOST_LOOKS)

    def evidence(
        self, in_flight: int, now: float, latencies: Latencies, base_s: float | None
    ) -> float:
        """Return the evidence of silence, in nepers; 0 while there is next to none.

        ``base_s``: the node's unloaded latency by its speed curve; None: not known.
        """
        if now - self._since < LEAST_SILENCE_S or not (self._begun or self._lost):
            return 0.0
        slowness = max(latencies.slowness(self._own_s), latencies.slowness(base_s))
        found, left = 0.0, in_flight
        for at, count in reversed(self._begun):  # those without an end are the newest, in doubt
            found += min(count, left) * latencies.nepers((now - at) / slowness)
            left -= count
            if left <= 0:
                break
        self._found = found
        return self._lost + found


def _bin(latency_s: float) -> int:
    if latency_s <= _LEAST_S:
        return 0
    return min(_BINS - 1, 1 + int(log2(latency_s / _LEAST_S) * _PER_OCTAVE))
