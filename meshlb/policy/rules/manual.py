"""What an operator or a program has set by hand: C = n, until it expires.

It overrides what other rules compute. Every policy has this rule; naming it with a ``count`` makes
a fleet of fixed size, which a count set by the API overrides in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy import scale_load
from meshlb.scale_model import Inputs, Verb, Want

OVERRIDES = True


@dataclass(frozen=True, slots=True)
class Params:
    """A count of the policy's own."""

    count: int | None = None
    """Nodes, 0 to 10,000; None: only what the API sets."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        most = scale_load.MOST_NODES
        if self.count is None or scale_load.is_number(self.count, 0, most, integer=True):
            return []
        return [f"count = {self.count!r}: a whole number from 0 to {most:,}"]


def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]:
    """Return SET n; nothing if no count is set, or it has expired."""
    manual = inputs.manual
    if manual is not None and manual.count is not None:
        left = None if manual.expires_at is None else manual.expires_at - inputs.now
        if left is None or left > 0:
            until = "" if left is None else f", for {span(left)} more"
            why = f": {manual.reason}" if manual.reason else ""
            return (Want(name, Verb.SET, manual.count, f"set by hand{until}{why}"),)
    if params.count is not None:
        return (Want(name, Verb.SET, int(params.count), "fixed by the policy"),)
    return ()


def span(seconds: float) -> str:
    """Return a span for people."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
