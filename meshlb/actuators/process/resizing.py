"""Gives a running server other cores, through every thread that it has.

Linux keeps affinity and nice by thread, and new threads take theirs from the one that begins them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import psutil

from meshlb import os_process
from meshlb.actuators.process.entry import Child

PASSES = 5
"""Threads begun meanwhile by one that had not been reached are reached in the next pass."""
NICE_STEP = 1.25
"""One level of nice is about this factor of CPU time, when the machine is busy."""


def set_cores(child: Child, cores: float, how: str, others: Sequence[Child]) -> bool:
    """Give a server so many cores by "affinity" or "nice"; whether all its threads took it.

    Affinity rounds up to whole CPUs, those that ``others`` are bound to least. Nice is a weight: it
    only tells while CPUs are short, and going back needs a right that few programs have.
    """
    try:
        if how == "nice":
            return _on_all(child, nice=_nice_of(cores))
        count = min(max(1, math.ceil(cores - 1e-9)), len(_allowed()))
        return _on_all(child, cpus=_least_used(count, others))
    except (AttributeError, OSError, psutil.Error):  # no affinity here, or not ours to set
        return False


def before(child: Child, how: str) -> list[int] | int | None:
    """Return the CPUs that a server may run on, or its nice; None: that cannot be told here."""
    try:
        if child.name is None:
            return None
        process = psutil.Process(child.name.pid)
        return process.nice() if how == "nice" else process.cpu_affinity()
    except (AttributeError, OSError, psutil.Error):
        return None


def restore(child: Child, cpus: list[int] | None, nice: int | None) -> bool:
    """Give a server back what it had (``before``); whether all its threads took it."""
    try:
        cpus_taken = cpus is None or _on_all(child, cpus=cpus)
        return (nice is None or _on_all(child, nice=nice)) and cpus_taken
    except (AttributeError, OSError, ValueError, psutil.Error):  # no such CPU any more, or no right
        return False


def _allowed() -> list[int]:
    return list(psutil.Process().cpu_affinity() or ())


def _nice_of(cores: float) -> int:
    return min(19, max(0, round(-math.log(max(cores, 1e-3) / len(_allowed()), NICE_STEP))))


def _least_used(count: int, others: Sequence[Child]) -> list[int]:
    used = dict.fromkeys(_allowed(), 0.0)
    for other in others:
        with contextlib.suppress(psutil.Error, OSError):
            if other.name is not None:
                bound = psutil.Process(other.name.pid).cpu_affinity() or []
                for cpu in used.keys() & set(bound):
                    used[cpu] += 1 / len(bound)  # one that may run anywhere takes a part of each
    return sorted(_allowed(), key=lambda cpu: (used[cpu], cpu))[:count]


def _on_all(child: Child, *, cpus: list[int] | None = None, nice: int | None = None) -> bool:
    done: set[int] = set()
    for _ in range(PASSES):
        found = _threads(child) - done
        if not found:
            break
        for thread_id in found:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                thread = psutil.Process(thread_id)
                if cpus is not None:
                    thread.cpu_affinity(cpus)
                if nice is not None:
                    thread.nice(nice)
        done |= found
    return bool(done)


def _threads(child: Child) -> set[int]:
    found: set[int] = set()
    for one in os_process.members(child.name, child.token, child.unreaped):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {thread.id for thread in psutil.Process(one.pid).threads()}
    return found
