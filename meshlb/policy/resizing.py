"""From what a node should have to what it is given, so that a smaller size holds no calls up.

A recommendation rests on hours of use, and what was cut shows no use beyond the cut. So a size
shrinks only if that is worth it, and grows at once with what is in use now.
"""

from __future__ import annotations

import math

MARGIN = 0.15
WORTH = 0.8
"""A size shrinks only to this part of the present one or less."""
FULL = 0.85
"""Use of this part of the cores given asks for more at once."""
GROWTH = 1.5


def slots_to_give(recommended: int | None, given: int, in_flight: float) -> int:
    """Return the slots to give a node that has ``given`` and so many calls in flight now."""
    busy = math.ceil(in_flight * (1.0 + MARGIN) - 1e-9)
    wanted = max(1, busy if recommended is None else max(recommended, busy))
    if recommended is None:
        return max(given, wanted)
    return wanted if wanted > given or wanted <= WORTH * given else given


def cores_to_give(
    recommended: float | None, given: float | None, in_use: float | None
) -> float | None:
    """Return the cores to give; None: all that there are, as long as too little is known."""
    if recommended is None:
        return given
    if given is None:
        return max(recommended, (in_use or 0.0) * (1.0 + MARGIN))
    if in_use is not None and in_use >= FULL * given:
        return max(recommended, GROWTH * given)
    return recommended if recommended > given or recommended <= WORTH * given else given
