"""Whether a table differs enough from the one that clients have to be worth sending."""

from __future__ import annotations

from collections.abc import Sequence

from meshlb.model import SpeedCurve, TableNode


def structure_changed(old: Sequence[TableNode], new: Sequence[TableNode]) -> bool:
    """Return whether nodes, addresses, states, zones or slots differ: that is sent at once."""
    return [_fixed(n) for n in old] != [_fixed(n) for n in new]


def figures_moved(old: Sequence[TableNode], new: Sequence[TableNode], least: float) -> bool:
    """Return whether some weight or curve of the same nodes moved by more than ``least`` (0.05)."""
    return any(
        _moved(a.weight, b.weight, least) or _curve_moved(a.curve, b.curve, least)
        for a, b in zip(old, new, strict=True)
    )


def _fixed(node: TableNode) -> tuple[object, ...]:
    return (
        node.node_id, node.incarnation, node.address, node.authority, node.state, node.slots,
        node.zone,
    )  # fmt: skip


def _moved(old: float, new: float, least: float) -> bool:
    return abs(new - old) > least * max(abs(old), abs(new))


def _curve_moved(old: SpeedCurve | None, new: SpeedCurve | None, least: float) -> bool:
    if old is None or new is None:
        return old is not new
    return (
        _moved(old.base_s, new.base_s, least)
        or _moved(old.slope_s, new.slope_s, least)
        or abs(new.knee - old.knee) > least * max(1.0, old.knee, new.knee)
    )
