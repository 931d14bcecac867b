"""Whether the memory of processes grows while they run."""

from __future__ import annotations

import contextlib
from typing import Any

import psutil

EVERY_S = 1.0
WARM_PART, LEAST_PART = 1 / 3, 1 / 3
"""Part of a run that a process has to warm up, and part that it must have lived beyond that."""


class Memory:
    """Resident memory of processes by name, over time; a new pid under a name begins anew."""

    def __init__(self) -> None:
        self._looked_at = -EVERY_S
        self._seen: dict[str, tuple[int, list[tuple[float, float]]]] = {}

    def look(self, now_s: float, pids: dict[str, int]) -> None:
        """Measure, unless that has been done just now; ``now_s`` from the start of the run."""
        if now_s - self._looked_at < EVERY_S:
            return
        self._looked_at = now_s
        for name, pid in pids.items():
            with contextlib.suppress(psutil.Error):
                mb = psutil.Process(pid).memory_info().rss / 1e6
                if self._seen.get(name, (0, []))[0] != pid:
                    self._seen[name] = pid, []
                self._seen[name][1].append((now_s, mb))

    def figures(self, seconds: float) -> dict[str, dict[str, Any]]:
        """Return first and last size, and growth in MB a minute once warm; None: too short."""
        found = {}
        for name, (_, points) in sorted(self._seen.items()):
            warm = [one for one in points if one[0] >= points[0][0] + WARM_PART * seconds]
            long_enough = warm and warm[-1][0] - warm[0][0] >= LEAST_PART * seconds
            found[name] = {
                "first_mb": points[0][1],
                "last_mb": points[-1][1],
                "mb_a_minute": 60 * slope(warm) if long_enough else None,
            }
        return found


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the line that fits best."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0
