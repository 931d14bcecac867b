"""How often a target turned round within a short time: the figure that tells flapping."""

from __future__ import annotations

from collections.abc import Iterable

WITHIN_S = 600.0


def reversals(targets: Iterable[tuple[float, int]], within_s: float = WITHIN_S) -> int:
    """Count changes against the direction of the change before, at most ``within_s`` after it.

    ``targets``: (seconds, target) in the order of time; repeated targets count nothing.
    """
    count = 0
    before: int | None = None
    turned_at, direction = 0.0, 0
    for at, target in targets:
        if before is not None and target != before:
            now = 1 if target > before else -1
            if direction == -now and at - turned_at <= within_s:
                count += 1
            turned_at, direction = at, now
        before = target
    return count
