"""What became of the calls of one fleet: counts and percentiles, all and by node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ended:
    """One call that is over, or that the demo's end cut off."""

    node: str
    """Where its last message came from; empty: none came."""
    generate: bool
    first_s: float | None
    """Time to the first token (Embed: to the answer); None: none came."""
    total_s: float
    """Time to the end; of a call cut off, until then: it would have taken longer."""
    code: str = "OK"
    details: str = ""
    moves: int = 0
    """Times that the answer went on from another node."""
    cut_off: bool = False
    """The demo ended first: neither served nor failed."""

    @property
    def failed(self) -> bool:
        """Whether the caller got an error."""
        return self.code != "OK" and not self.cut_off

    @property
    def broken(self) -> bool:
        """Whether a stream failed after its first token."""
        return self.failed and self.generate and self.first_s is not None


def percentile(values: Iterable[float], part: float) -> float | None:
    """Return the least value that at least ``part`` of all do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over some calls; times in seconds, None: no call yet."""

    calls: int
    failed: int
    broken: int
    moved: int
    """Streams that went on from another node."""
    cut_off: int
    p50_s: float | None
    p99_s: float | None
    first_p50_s: float | None
    first_p99_s: float | None

    def as_json(self) -> dict[str, Any]:
        """Return them under the names that the JSON file documents, in milliseconds."""
        return {
            "calls": self.calls,
            "failed_calls": self.failed,
            "broken_streams": self.broken,
            "resumed_streams": self.moved,
            "unfinished_calls": self.cut_off,
            "p50_ms": milliseconds(self.p50_s),
            "p99_ms": milliseconds(self.p99_s),
            "first_token_p50_ms": milliseconds(self.first_p50_s),
            "first_token_p99_ms": milliseconds(self.first_p99_s),
        }


def milliseconds(seconds: float | None) -> float | None:
    """Return milliseconds with one decimal; None stays None."""
    return None if seconds is None else round(seconds * 1000, 1)


def figures(calls: Sequence[Ended]) -> Figures:
    """Sum up. Failed calls count in no percentile; those cut off count with the time they had."""
    timed = [call for call in calls if not call.failed]
    firsts = [
        call.total_s if call.first_s is None else call.first_s for call in timed if call.generate
    ]
    return Figures(
        calls=len(calls),
        failed=sum(call.failed for call in calls),
        broken=sum(call.broken for call in calls),
        moved=sum(call.moves > 0 for call in calls),
        cut_off=sum(call.cut_off for call in calls),
        p50_s=percentile((call.total_s for call in timed), 0.50),
        p99_s=percentile((call.total_s for call in timed), 0.99),
        first_p50_s=percentile(firsts, 0.50),
        first_p99_s=percentile(firsts, 0.99),
    )


class Tally:
    """Collects the calls of one fleet."""

    def __init__(self) -> None:
        self.calls: list[Ended] = []

    def add(self, call: Ended) -> None:
        """Take one call in."""
        self.calls.append(call)

    def total(self) -> Figures:
        """Return the sums over all calls."""
        return figures(self.calls)

    def by_node(self) -> dict[str, Figures]:
        """Return the sums by node; calls that no node answered are under the empty name."""
        groups: dict[str, list[Ended]] = {}
        for call in self.calls:
            groups.setdefault(call.node, []).append(call)
        return {node: figures(calls) for node, calls in groups.items()}
