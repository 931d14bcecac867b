"""Which nodes the controller takes from all clients, by everyone's calls; pure, one a service.

Three signs: so many calls failed in a row, all clients together; a part of the calls that stands
out (``outlier``); clients that leave the node alone because it is silent, while nobody tells of a
good call there. The first two eject for a time that grows with each time, the third for as long
as it holds: clients probe the node themselves, and say so when it answers.

What holds it back: of the nodes at most a part is ejected, and nobody where less than ``panic``
would be left, or where most clients are not heard. Clients call ejected nodes where nothing better
is left, so that no call fails for an ejection alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meshlb.model import Health
from meshlb.policy.client_record import ClientRecord
from meshlb.policy.node_record import NodeRecord
from meshlb.policy.outcomes import Ejection
from meshlb.policy.outlier import Params, most_ejected, outliers
from meshlb.settings import ServiceSettings

LEAST_SUSPECTS = 2
QUIET_S, QUIET_REPORTS = 0.5, 3
"""Nobody told of a good call for so long, and for so many report intervals: that is silence."""
MOST_DOUBLINGS = 32
"""From the least base to more than the greatest maximum."""


class Ejector:
    """The nodes of one service. ``decide`` is to be called at each tick."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._params = Params(
            failing=settings.eject_failing,
            deviations=settings.eject_deviations,
            least_calls=settings.eject_least_calls,
        )
        self._compared_at: float | None = None
        self._ticked_at: float | None = None

    def decide(
        self,
        nodes: Mapping[str, NodeRecord],
        clients: Iterable[ClientRecord],
        now: float,
        interval_s: float,
        *,
        heard: bool,
    ) -> None:
        """Eject and give back.

        ``clients``: those heard of lately; ``interval_s``: between the reports of each; ``heard``:
        whether enough is known to eject anybody.
        """
        elapsed_s = 0.0 if self._ticked_at is None else now - self._ticked_at
        self._ticked_at = now
        for node in nodes.values():
            node.outcomes.tick(elapsed_s)
        quiet_s = max(QUIET_S, QUIET_REPORTS * interval_s)
        suspected = _suspected(nodes, clients, now, quiet_s)
        self._give_back(nodes, suspected, now)
        signs = self._in_a_row(nodes, now, interval_s)
        signs |= self._compared(nodes, now)
        if not heard:
            return
        for key, reason in {**signs, **suspected}.items():
            outcomes = nodes[key].outcomes
            if outcomes.ejection is None and self._may_eject(nodes):
                timed = key not in suspected
                outcomes.ejection = Ejection(
                    reason, self._until(nodes[key], now) if timed else None
                )

    def _in_a_row(
        self, nodes: Mapping[str, NodeRecord], now: float, interval_s: float
    ) -> dict[str, str]:
        most = self._settings.eject_after_failures
        signs = {
            key: f"{node.outcomes.in_a_row} calls of all clients failed in a row"
            for key, node in nodes.items()
            # Each client has told since of what ended well there, if anything did.
            if 0 < most <= node.outcomes.in_a_row and now - node.calls_at >= interval_s
        }
        if not signs:
            return signs
        failing = sum(node.outcomes.failing for node in nodes.values())
        return {
            key: reason
            for key, reason in signs.items()
            if _stands_out(nodes[key].outcomes.failing, failing, len(nodes))
        }

    def _compared(self, nodes: Mapping[str, NodeRecord], now: float) -> dict[str, str]:
        if self._compared_at is None:
            self._compared_at = now
        if now - self._compared_at < self._settings.eject_interval_s:
            return {}
        self._compared_at = now
        ended = {key: node.outcomes.window for key, node in nodes.items()}
        for node in nodes.values():
            node.outcomes.window = (0, 0)
        return outliers(ended, self._params)

    def _give_back(
        self, nodes: Mapping[str, NodeRecord], suspected: Mapping[str, str], now: float
    ) -> None:
        panic = not self._enough_left(nodes, 0)
        for key, node in nodes.items():
            ejection = node.outcomes.ejection
            if ejection is None:
                continue
            over = key not in suspected if ejection.until is None else now >= ejection.until
            if over or panic:
                outcomes = node.outcomes
                outcomes.ejection, outcomes.returned_at = None, now
                outcomes.in_a_row, outcomes.window = 0, (0, 0)
                node.slow_start, node.ramped_at = True, now

    def _until(self, node: NodeRecord, now: float) -> float:
        settings, outcomes = self._settings, node.outcomes
        calm = int((now - outcomes.returned_at) / settings.eject_max_s) if outcomes.times else 0
        outcomes.times = max(0, outcomes.times - calm) + 1
        times = min(outcomes.times - 1, MOST_DOUBLINGS)
        return now + min(settings.eject_max_s, settings.eject_base_s * 2.0**times)

    def _may_eject(self, nodes: Mapping[str, NodeRecord]) -> bool:
        ejected = sum(1 for node in nodes.values() if node.outcomes.ejection is not None)
        at_once = most_ejected(len(nodes), self._settings.eject_most)
        return ejected < at_once and self._enough_left(nodes, 1)

    def _enough_left(self, nodes: Mapping[str, NodeRecord], more: int) -> bool:
        """Return whether enough nodes would be left with so many ejected more; else it is panic."""
        open_ = [node for node in nodes.values() if not node.withdrawn]
        out = sum(1 for node in open_ if node.outcomes.ejection is not None or _unhealthy(node))
        return len(open_) - out - more >= self._settings.eject_panic * len(open_)


def _stands_out(failing: float, of_all: float, nodes: int) -> bool:
    """Return whether one node fails twice as much as the others; else the fault may be shared."""
    return nodes > 1 and failing >= 2.0 * (of_all - failing) / (nodes - 1)


def _unhealthy(node: NodeRecord) -> bool:
    return node.report is not None and node.report.health is Health.NOT_SERVING


def _suspected(
    nodes: Mapping[str, NodeRecord], clients: Iterable[ClientRecord], now: float, quiet_s: float
) -> dict[str, str]:
    """Return the nodes that most of their clients leave alone, and of which none tells good."""
    listed = list(clients)
    by_node: dict[str, list[str]] = {}
    for client in listed:
        for key, reason in client.suspects.items():
            by_node.setdefault(key, []).append(reason)
    found = {}
    for key, reasons in by_node.items():
        node = nodes.get(key)
        if node is None or len(reasons) < LEAST_SUSPECTS or now - node.calls_at <= quiet_s:
            continue
        callers = sum(
            1
            for client in listed
            if key not in client.suspects and (key in client.in_flight or key in client.occupancy)
        )
        if len(reasons) > callers:
            found[key] = f"{len(reasons)} clients leave it alone: {max(reasons, key=reasons.count)}"
    return found
