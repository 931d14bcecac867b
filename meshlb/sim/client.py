"""One simulated caller: the real picker over the real counts, fed as a stub would be.

Counts of the controller are taken in when the next call needs them, which gives the same picks as
taking each in when it comes, and lets a thousand clients be simulated in seconds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from meshlb.model import TableNode
from meshlb.policy import zones
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad
from meshlb.policy.pickers import Picker


class SimClient:
    """Picks a node for each of its calls, and counts them."""

    __slots__ = (
        "_history", "_module", "_params", "_picker", "_rng", "_version", "applied", "load",
        "loads", "smoothed", "zone",
    )  # fmt: skip

    def __init__(
        self, module: ModuleType, params: Any, count: int, rng: random.Random, zone: str = ""
    ) -> None:
        self._module = module
        self._params = params
        self._rng = rng
        self._picker: Picker | None = None
        self._version = -1
        self._history: deque[tuple[int, list[int]]] = deque()
        """Last report that told these own counts, and the counts."""
        self.load = ClientLoad()
        self.loads = [NodeLoad() for _ in range(count)]
        self.applied = 0
        """Number of the counts that it has from the controller."""
        self.smoothed = 0.0
        """The controller's smoothed count of this client's calls in flight."""
        self.zone = zone

    def begin(self, nodes: Sequence[TableNode], version: int, now: float) -> int:
        """Pick by the table of that version; return the node's index."""
        if version != self._version or self._picker is None:
            candidates = [Candidate(n, at) for n, at in zip(nodes, self.loads, strict=True)]
            self._picker = zones.build(
                self._module.build, candidates, self.load, self._rng, self._params, self.zone
            )
            self._version = version
        chosen = self._picker.pick(now)
        load = self.loads[chosen]
        load.in_flight += 1
        self.load.in_flight += 1
        return chosen

    def end(self, chosen: int, latency_s: float, now: float) -> None:
        """Take one call off the counts."""
        load = self.loads[chosen]
        load.in_flight -= 1
        self.load.in_flight -= 1
        load.observe_response(latency_s, True, now)

    def note(self, report: int) -> None:
        """Remember the counts that the last report, of that number, told; call before a change."""
        if not self._history or self._history[-1][0] < report:
            self._history.append((report, [at.in_flight for at in self.loads]))

    def apply(
        self,
        count: int,
        report: int,
        totals: Sequence[int],
        share: float,
        age_s: float,
        nodes: Sequence[TableNode],
    ) -> None:
        """Take in all clients' counts, less the own ones in them, told by that report."""
        history = self._history
        while history and history[0][0] < report:
            history.popleft()
        own = history[0][1] if history else [at.in_flight for at in self.loads]
        for load, total, mine, node in zip(self.loads, totals, own, nodes, strict=True):
            load.count_others(float(max(0, total - mine)), age_s, node.curve)
        self.load.share = share
        self.load.count_age_s = age_s
        self.applied = count
