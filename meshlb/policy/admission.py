"""Who may begin a call where a service's calls in flight are limited: pure.

One client has ``limit`` calls; its calls are of classes, the most important first. A class may
always use its floor, a part of the limit that others leave free; the rest is first come, first
served. Who does not fit waits, higher classes first, in order within a class; where too many wait,
one of the least important is shed. ``share_out`` gives each client its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshlb.model import NodeState

_TAKE_CALLS = (NodeState.ACTIVE, NodeState.UNKNOWN)


def usable(states: Iterable[NodeState]) -> int:
    """Return how many of the nodes in these states have calls.

    Where none is in order those that are not are called all the same.
    """
    found = list(states)
    good = sum(state in _TAKE_CALLS for state in found)
    return good or sum(state is not NodeState.DRAINING for state in found)


def reserved(limit: int, floors: Sequence[float]) -> list[int]:
    """Return the calls that are kept for each class; whole ones only."""
    return [int(limit * floor + 1e-9) for floor in floors]


def may_begin(kind: int, running: Sequence[int], limit: int, floors: Sequence[float]) -> bool:
    """Return whether one more call of class ``kind`` may run beside ``running``, by class.

    What others have not used of their floors counts as taken, so that it is there for them. Only
    where the limit has sunk below what runs can floors and calls be more than it.
    """
    kept = reserved(limit, floors)
    if running[kind] < kept[kind]:
        return True
    return sum(map(max, running, kept)) < limit


def next_kind(
    running: Sequence[int], waiting: Sequence[int], limit: int, floors: Sequence[float]
) -> int | None:
    """Return the class whose first waiting call may begin now; None: none may."""
    for kind, count in enumerate(waiting):
        if count and may_begin(kind, running, limit, floors):
            return kind
    return None


def shed_kind(kind: int, waiting: Sequence[int], most: int) -> int | None:
    """Return the class that loses a place when one more of ``kind`` comes to wait; None: none.

    It is ``kind`` itself unless a less important one waits.
    """
    if sum(waiting) < most:
        return None
    lower = [other for other, count in enumerate(waiting) if count and other > kind]
    return lower[-1] if lower else kind


def expected_wait_s(ahead: int, ended_at: Sequence[float], now: float) -> float | None:
    """Return how long a call waits that has ``ahead`` before it; None: not known.

    ``ended_at``: when the last calls ended, oldest first. It takes them to go on ending as fast.
    """
    if len(ended_at) < 2 or now <= ended_at[0]:
        return None
    return (ahead + 1) * (now - ended_at[0]) / len(ended_at)


def share_out(limit: float, demands: Mapping[str, float]) -> dict[str, float]:
    """Return each client's part of ``limit`` calls; all together are just that.

    None gets less than it wants while another gets more than an equal part (max-min fairness).
    What nobody wants is spread evenly, so that each can grow at once.
    """
    parts: dict[str, float] = {}
    left = limit
    for count, (client, wanted) in enumerate(sorted(demands.items(), key=lambda one: one[1])):
        parts[client] = min(wanted, left / (len(demands) - count))
        left -= parts[client]
    spare = left / len(demands) if demands else 0.0
    return {client: part + spare for client, part in parts.items()}
