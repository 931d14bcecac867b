"""One file per way to turn what is known of a node into a weight; the file's name is its name.

To write the next one: make ``NAME.py`` here with a docstring (what, why, source), a frozen
``Params`` dataclass whose fields all have defaults, and

    def weight(seen: Seen, params: Params) -> float | None

It returns a finite number above 0 in any unit, since tables are brought to a mean of 1; None where
too little is known, which becomes the mean of the others. More load never gives more weight.
``tests/contract`` finds the file by itself. Third parties use the entry-point group
``meshlb.weights``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshlb.model import SpeedCurve

FLOOR = 0.02
"""No node gets less than this part of the mean, so that each is probed and may recover."""


class Seen(NamedTuple):
    """What a weight may be computed from; None: not known."""

    curve: SpeedCurve | None = None
    in_flight: float | None = None
    """Calls in flight, all clients together, smoothed."""
    utilization: float | None = None
    """The application's own figure, else the CPU of the host; 0 is idle, may exceed 1."""
    requests_per_s: float | None = None
    errors_per_s: float | None = None
    reported_for_s: float = 0.0
    """Since reports came without a gap."""
    report_age_s: float = 0.0
    """Since the last report."""


def normalised(raw: Mapping[str, float | None]) -> dict[str, float]:
    """Return weights with mean 1: the unknown get the mean of the known, none less than FLOOR."""
    known = [value for value in raw.values() if value is not None]
    mean = _mean(known)
    if mean <= 0:
        return dict.fromkeys(raw, 1.0)
    floored = {
        key: max(FLOOR, 1.0 if value is None else value / mean) for key, value in raw.items()
    }
    again = _mean(floored.values())
    return {key: value / again for key, value in floored.items()}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
