"""Which nodes a client gets above the subset size, so that connections do not grow as N x M.

Nodes stand on a ring, ordered by a hash of their id; client number i starts at the fraction
frac(i x golden ratio) of it and takes the next ``size``. Starts so chosen are spread evenly however
many there are, so cover is near equal, and no client moves because another comes or goes. A node
that joins or leaves changes at most two entries of a subset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

_GOLDEN = 0.6180339887498949


def ring(node_ids: Iterable[str]) -> list[str]:
    """Return the ids in ring order: the same in every controller."""
    return sorted(node_ids, key=lambda one: (hashlib.blake2b(one.encode()).digest(), one))


def subset(ordered: Sequence[str], client: int, size: int) -> Sequence[str]:
    """Return the ids of client number ``client``; all of them where there are no more."""
    count = len(ordered)
    if count <= size:
        return ordered
    start = int((client * _GOLDEN % 1.0) * count)
    return [ordered[(start + k) % count] for k in range(size)]


def free_number(taken: Iterable[int]) -> int:
    """Return the least client number that is not taken."""
    used = set(taken)
    return next(n for n in range(len(used) + 1) if n not in used)
