"""One channel's way to pick a node.

A ``View`` holds an immutable set of picks, rebuilt by the next caller after the ``generation`` of
its routes has moved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from meshlb import plugins
from meshlb.client.node import LinkState, Node
from meshlb.client.routes import Routes
from meshlb.model import DEFAULT_PICKER, NodeState, Table
from meshlb.policy import sound
from meshlb.policy.load import occupancy
from meshlb.policy.pickers import Picker

PICKERS = "meshlb.policy.pickers"
_WORSE = (NodeState.UNHEALTHY, NodeState.EJECTED)


class _Picks:
    """An immutable choice set of one view."""

    __slots__ = ("generation", "limited", "nodes", "pick", "spares")

    def __init__(
        self,
        generation: int,
        nodes: Sequence[Node],
        spares: Sequence[Node],
        picker: Picker | None,
    ) -> None:
        self.generation = generation
        self.nodes = nodes
        self.spares = spares
        """Connected ones that seem out of order, for calls that have tried all others."""
        self.limited = any(
            node.info.limit is not None
            or node.standing.most is not None
            or node.client.per_node is not None
            or node.spared_until
            for node in nodes
        )
        self.pick = None if picker is None else picker.pick


class View:
    """One channel's way to pick from shared routes."""

    __slots__ = ("_closed", "_picks", "params", "picker", "routes", "zone")

    def __init__(
        self, routes: Routes, picker: str | None = None, params: Any = None, zone: str = ""
    ) -> None:
        if picker is not None:
            plugins.load(PICKERS, picker)  # an unknown name is the caller's error, now
        self.routes = routes
        self.picker = picker
        self.params = params
        self.zone = zone
        self._closed = False
        self._picks = _Picks(-1, (), (), None)

    def close(self) -> None:
        """End the view: whoever picks from it from now on gets gRPC's error for that."""
        self._closed = True
        self.routes.touch()

    def has_other(self, node: Node) -> bool:
        """Return whether there is another node to choose now."""
        self.refresh()
        return any(other is not node for other in self._picks.nodes)

    def check_open(self) -> None:
        """Raise gRPC's error if it has ended."""
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")

    def refresh(self) -> None:
        """Bring the picks up to date, which begins to connect where that is still to do."""
        if not self._closed and self._picks.generation != self.routes.generation:
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._rebuild()

    @property
    def choices(self) -> int:
        """Nodes that could be called when one was last chosen, those out of order included."""
        return len(self._picks.nodes) + len(self._picks.spares)

    def begin(self, now: float, tried: Sequence[Node] = ()) -> Node | None:
        """Choose a node and count the call in; None while there is none to choose.

        ``tried`` nodes are avoided while there are others. The node goes to ``Routes.end``.
        """
        routes = self.routes
        while True:
            picks = self._picks
            if picks.generation != routes.generation:
                picks = self._rebuild()
            pick = picks.pick
            if pick is None:
                return None
            node = picks.nodes[pick(now)]
            if tried and node in tried:
                node = self._other_than(tried, picks, now) or node
            elif picks.limited and not _has_room(node, now):
                others = sorted(picks.nodes, key=_fullness)
                node = next((other for other in others if _has_room(other, now)), node)
            with routes.lock:
                if picks.generation != routes.generation:
                    continue  # the node may have left, and its link be closed
                load = node.load
                own = load.in_flight
                node.in_flight_time_s += own * (now - node.spent_at)
                node.spent_at = now
                load.in_flight = own + 1
                routes.client.in_flight += 1
                node.started += 1
                routes.started += 1
                return node

    def _build(self, nodes: Sequence[Node], table: Table) -> Picker:
        module = plugins.load(PICKERS, self.picker or table.picker or DEFAULT_PICKER)
        params = module.Params() if self.params is None else self.params
        return sound.build(
            module.build,
            [node.candidate for node in nodes],
            self.routes.client,
            self.routes.rng,
            params,
            self.zone,
        )

    def _other_than(self, tried: Sequence[Node], picks: _Picks, now: float) -> Node | None:
        left = [node for node in picks.nodes if node not in tried]
        # One that seems out of order may be in order by now; those that were tried were not.
        left = left or [node for node in picks.spares if node not in tried]
        table = self.routes.table
        if not left or table is None:
            return None
        return left[self._build(left, table).pick(now)]

    def _rebuild(self) -> _Picks:
        """Build picks of the nodes that can be reached; begin to connect to the rest."""
        self.check_open()
        routes = self.routes
        with routes.lock:
            generation = routes.generation
            table = routes.table
            known = list(routes.nodes.values())
        if table is None:
            self._picks = _Picks(generation, (), (), None)
            return self._picks
        for node in known:
            if node.info.state is not NodeState.DRAINING:
                link = routes.link_of(node)
                if link is not None and node.link_state is LinkState.IDLE:
                    link.connect()
        nodes = choose(known)
        chosen = set(nodes)
        spares = [n for n in known if n.link_state is LinkState.READY and n not in chosen
                  and n.info.state is not NodeState.DRAINING]  # fmt: skip
        picker = self._build(nodes, table) if nodes else None
        self._picks = _Picks(generation, nodes, spares, picker)
        return self._picks


def _has_room(node: Node, now: float) -> bool:
    if now < node.spared_until:
        return False
    per_node = node.client.per_node
    if per_node is not None and occupancy(node.load, node.client) >= per_node:
        return False
    limit, most, own = node.info.limit, node.standing.most, node.load.in_flight
    return (limit is None or own < limit) and (most is None or own < most)


def _fullness(node: Node) -> float:
    return node.load.in_flight / (node.info.limit or node.info.slots or 1)


def choose(known: Sequence[Node]) -> list[Node]:
    """Return the nodes to pick from: the best kind of which there is one; none: wait.

    Connected ones. While there is none but some may yet connect, the call waits for the first, so
    that one address that swallows packets holds up nobody. With every node dead, all, so that one
    is tried. Unhealthy and ejected ones only where nothing better is left, those that this client
    itself has shut only if they are most, draining ones never.
    """
    open_ = [n for n in known if n.info.state is not NodeState.DRAINING]
    healthy = [n for n in open_ if n.info.state not in _WORSE]
    for group in (healthy, open_):
        ready = [n for n in group if n.link_state is LinkState.READY]
        if ready:
            trusted = [n for n in ready if not n.standing.shut]
            # If most seem to hang or fail, it is not they: all share the load.
            return trusted if 2 * len(trusted) >= len(ready) else ready
        if any(n.link_state is not LinkState.DOWN for n in group):
            return []
    return open_
