"""The speed curve to go by for each node, known or not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from meshlb.model import SpeedCurve, TableNode

_ANY = SpeedCurve(base_s=1.0, slope_s=1.0, knee=1.0)


def curves(nodes: Sequence[TableNode]) -> list[SpeedCurve]:
    """Return a curve for each node: its own if learned, else the mean of those that are.

    An unknown node with declared slots keeps its knee there. With no curve known at all every
    node is taken for equally fast, and only differences between occupancies count.
    """
    known = [node.curve for node in nodes if node.curve is not None]
    if known:
        mean = SpeedCurve(
            fmean(c.base_s for c in known),
            fmean(c.slope_s for c in known),
            fmean(c.knee for c in known),
        )
    else:
        mean = _ANY
    return [node.curve or _unknown(node, mean) for node in nodes]


def _unknown(node: TableNode, mean: SpeedCurve) -> SpeedCurve:
    if node.slots is None or node.slots < 1:
        return mean
    return SpeedCurve(mean.base_s, mean.base_s / node.slots, float(node.slots))
