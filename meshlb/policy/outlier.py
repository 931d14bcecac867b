"""Which nodes fail so many more of their calls than the others that it must be they.

By counts of calls that ended well and calls that failed by the node's fault, over one span. Two
rules, as Envoy and gRPC (gRFC A50) have them: a great part of the calls failed; or the part that
went well lies far below that of the other nodes, in standard deviations. What is not theirs: a
node must also be worse than the mean of the others by a clear step, so that a fault which all
share, such as a broken data base or a caller's bad requests, ejects nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

LEAST_NODES = 5
"""Nodes with calls enough that a standard deviation is worth something."""
LEAST_STEP = 0.1
"""How much more of its calls than the others a node must fail, as a part of all its calls."""

SURE = 4.0
"""And by how many standard errors, so that few calls are not judged by chance."""


@dataclass(frozen=True, slots=True)
class Params:
    """What is too much."""

    failing: float = 0.85
    """Part of a node's calls that failed; above 1: never."""
    deviations: float = 1.9
    """Standard deviations below the mean of all nodes; 0: that is not looked at."""
    least_calls: int = 50
    """A node with fewer calls in the span is not judged."""


def outliers(ended: Mapping[str, tuple[int, int]], params: Params) -> dict[str, str]:
    """Return which nodes stand out, and why; ``ended``: calls that went well, that failed."""
    parts = {
        key: failed / (good + failed)
        for key, (good, failed) in ended.items()
        if good + failed >= max(1, params.least_calls)
    }
    if not any(parts.values()):
        return {}
    well = [1.0 - part for part in parts.values()]
    mean = sum(well) / len(well)
    deviation = sqrt(sum((one - mean) ** 2 for one in well) / len(well))
    least = mean - params.deviations * deviation
    found: dict[str, str] = {}
    for key, part in parts.items():
        others = [other for name, other in parts.items() if name != key]
        # Alone it has nobody to be compared with: only what fails nearly all is at fault then.
        usual = sum(others) / len(others) if others else 0.0
        good, failed = ended[key]
        calls = good + failed
        likely = max(usual, 1.0 / calls)
        chance = sqrt(likely * max(0.0, 1.0 - likely) / calls)
        if part - usual < max(LEAST_STEP, SURE * chance):
            continue
        told = f"{failed} of {calls} calls failed"
        if part >= params.failing:
            found[key] = told
        elif params.deviations > 0 and len(parts) >= LEAST_NODES and 1.0 - part < least:
            found[key] = f"{told}, of the other nodes {usual:.0%}"
    return found


def most_ejected(nodes: int, part: float) -> int:
    """Return how many of so many nodes may be ejected at once: a part, one at the least of two."""
    return 0 if nodes < 2 or part <= 0.0 else max(1, int(nodes * part))
