"""What all channels of one process (and loop) to one target share, and how a call gets its node.

``Routes`` is written by the subscription (tables, shares), by links (connected, refused) and by
calls (begin, end). A ``View`` is one channel's way to pick: it holds an immutable set of picks,
rebuilt by the next caller after ``generation`` has moved. Knows no gRPC: a link is whatever the
opener returns, so threads and asyncio share all of this. Long because the counts that a call moves
and the picks that they feed are one lock's business.
"""

from __future__ import annotations

import contextlib
import enum
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from meshlb import plugins
from meshlb.client.budget import RetryBudget
from meshlb.model import (
    DEFAULT_PICKER,
    CallReport,
    LoadShare,
    NodeCalls,
    NodeState,
    Table,
    TableNode,
)
from meshlb.policy import zones
from meshlb.policy.load import EWMA_TAU_S, Candidate, ClientLoad, NodeLoad
from meshlb.policy.pickers import Picker

PICKERS = "meshlb.policy.pickers"
REMEMBERED_REPORTS = 64
STALE_SHARE_INTERVALS = 5


class LinkState(enum.Enum):
    """Whether a node can be reached from here."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    DOWN = "down"
    """Refused or unreachable; its link goes on trying."""


class Outcome(enum.Enum):
    """How one attempt of a call ended."""

    OK = "ok"
    FAILED = "failed"
    """The node's fault: counts against it."""
    ANSWERED = "answered"
    """Ended with an error that is the caller's own, such as NOT_FOUND: the node is fine."""
    CANCELLED = "cancelled"
    """By the caller: says nothing about the node."""
    REFUSED = "refused"
    """Never reached the server."""


# Reading a member off an Enum class is slow, and ``end`` is on every call's way.
_OK, _FAILED, _REFUSED = Outcome.OK, Outcome.FAILED, Outcome.REFUSED
_DRAINING = NodeState.DRAINING


class Link(Protocol):
    """One connection to one node, made by the channel's kind (threads or asyncio)."""

    def connect(self) -> None:
        """Begin to connect in the background; tell ``Routes.link_changed``. Never waits."""

    def close(self) -> None:
        """Let go of the connection. Callable from any thread but gRPC's own."""

    def close_soon(self) -> None:
        """Let go of the connection without waiting. Callable from any thread."""


class Node:
    """One node of the table in this process; outlives tables."""

    __slots__ = (
        "candidate", "client", "failed", "in_flight_time_s", "info", "link",
        "link_state", "load", "refused", "spent_at", "started", "succeeded",
    )  # fmt: skip

    def __init__(self, info: TableNode, client: ClientLoad) -> None:
        self.load = NodeLoad()
        self.client = client
        """Whose sum its calls are part of; another after a fork."""
        self.link: Any = None
        self.link_state = LinkState.IDLE
        self.started = self.succeeded = self.failed = self.refused = 0
        self.in_flight_time_s = 0.0
        """Calls in flight summed over time, up to ``spent_at``."""
        self.spent_at = 0.0
        self.set_info(info)

    def spend(self, now: float) -> None:
        """Bring ``in_flight_time_s`` up to now; the hot path has these lines written out."""
        self.in_flight_time_s += self.load.in_flight * (now - self.spent_at)
        self.spent_at = now

    def counts(self) -> tuple[Any, ...]:
        """Copy what a report tells: the fields of NodeCalls, in their order."""
        return (
            self.info.node_id, self.load.in_flight, self.started, self.succeeded, self.failed,
            self.refused, max(0.0, self.in_flight_time_s),
        )  # fmt: skip

    def set_info(self, info: TableNode) -> None:
        """Take what a newer table says of the node."""
        self.info = info
        self.candidate = Candidate(info, self.load)


class _Picks:
    """An immutable choice set of one view."""

    __slots__ = ("generation", "limited", "nodes", "pick")

    def __init__(self, generation: int, nodes: Sequence[Node], picker: Picker | None) -> None:
        self.generation = generation
        self.nodes = nodes
        self.limited = any(node.info.limit is not None for node in nodes)
        self.pick = None if picker is None else picker.pick


class Routes:
    """Table, counts and links that channels to one target share in one process (and loop)."""

    def __init__(
        self,
        service: str,
        client_id: str,
        opener: Callable[[Routes, Node], Link],
        rng: random.Random | None = None,
    ) -> None:
        self.service = service
        self.client_id = client_id
        self.rng = rng or random.Random()
        # Re-entrant: a dropped call may be collected, and so counted out, in the midst of anything.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.client = ClientLoad()
        self.nodes: dict[tuple[str, int, str, str], Node] = {}
        self.table: Table | None = None
        self.generation = 0
        self.waiting = 0
        self.refusal: str | None = None
        """Why there is no table, once every controller has refused; None otherwise."""
        self._opener = opener
        self._leaving: list[Node] = []
        self._listeners: list[Callable[[], None]] = []
        self._sequence = 0
        self._own_at: OrderedDict[int, dict[str, int]] = OrderedDict()
        self._share_until = 0.0
        self.closed = False
        self.budget = RetryBudget()
        self.started = 0
        """Attempts begun, all nodes."""

    # --- written by the subscription -------------------------------------------------------

    def apply_table(self, table: Table) -> None:
        """Swap the whole table; nodes that stay keep their counts and links."""
        with self.lock:
            old = self.nodes
            fresh: dict[tuple[str, int, str, str], Node] = {}
            for info in table.nodes:
                key = (info.node_id, info.incarnation, info.address, info.authority)
                node = old.get(key)
                if node is None:
                    node = Node(info, self.client)
                else:
                    node.set_info(info)
                fresh[key] = node
            self.nodes = fresh
            self._leaving += [node for key, node in old.items() if key not in fresh]
            closing = self._take_idle_leavers()
            # A plain server is known to be idle when nobody is connected to it.
            letting_go = [_let_go(n) for n in fresh.values() if n.link is not None
                          and n.info.state is _DRAINING and n.load.in_flight <= 0]  # fmt: skip
            self.table = table
            self.refusal = None
            self._moved()
        for link in letting_go:
            link.close()
        self._after_change(closing)

    def apply_share(self, share: LoadShare, now: float) -> None:
        """Take the controller's counts in; the own calls that they contain are taken out."""
        with self.lock:
            self.client.share = share.share
            self.client.count_age_s = share.interval_s
            own = self._own_at.get(share.counted_sequence, {})
            for node in self.nodes.values():
                total = share.in_flight.get(node.info.node_id)
                mine = own.get(node.info.node_id, 0)
                others = None if total is None else max(0.0, total - mine)
                node.load.count_others(others, share.interval_s, node.info.curve)
            self._share_until = now + STALE_SHARE_INTERVALS * share.interval_s

    def expire(self, now: float) -> None:
        """Forget the counts of others once they are stale; own counts and the share go on."""
        with self.lock:
            if now > self._share_until:
                self.client.count_age_s = None
                for node in self.nodes.values():
                    node.load.others = None

    def refuse(self, text: str) -> None:
        """Note that every controller has refused and there is no table."""
        with self.lock:
            if self.table is not None or self.refusal == text:
                return
            self.refusal = text
            self._moved()
        self._after_change([])

    def call_report(self, now: float) -> CallReport:
        """Return this client's state now, as one whole report."""
        with self.lock:
            self._sequence += 1
            known = [*self.nodes.values(), *self._leaving]
            for node in known:
                node.spend(now)
            self._own_at[self._sequence] = {n.info.node_id: n.load.in_flight for n in known}
            while len(self._own_at) > REMEMBERED_REPORTS:
                self._own_at.popitem(last=False)
            sequence, waiting, table = self._sequence, self.waiting, self.table
            counted = [n.counts() for n in known if n.started or n.refused]
        # Calls wait for the lock, so what takes long is done without it.
        return CallReport(
            service=self.service,
            client_id=self.client_id,
            sequence=sequence,
            nodes=tuple(NodeCalls(*counts) for counts in counted),
            waiting=waiting,
            applied=None if table is None else (table.epoch, table.version),
        )

    # --- written by links ------------------------------------------------------------------

    def link_changed(self, node: Node, state: LinkState) -> None:
        """Note whether a node can be reached; picks follow at the next call."""
        with self.lock:
            if node.link_state is state:
                return
            node.link_state = state
            self._moved()
        self._after_change([])

    # --- written by calls ------------------------------------------------------------------

    def end(self, node: Node, latency_s: float, outcome: Outcome, now: float) -> None:
        """Take one ended attempt in; exactly once for each ``View.begin`` that gave a node."""
        closing = idle = None
        with self.lock:
            load = node.load
            own = load.in_flight
            node.in_flight_time_s += own * (now - node.spent_at)
            node.spent_at = now
            load.in_flight = own - 1
            node.client.in_flight -= 1
            if outcome is _OK:
                node.succeeded += 1
                known = load.response_s
                gap = (now - load.response_at) / EWMA_TAU_S
                if known is not None and latency_s < known and 0.0 <= gap < 0.01:
                    # What observe_response does, to 0.5 %, without the price of an exponential.
                    load.response_s = known + (latency_s - known) * gap
                    load.response_at = now
                else:
                    load.observe_response(latency_s, True, now)
            elif outcome is _FAILED:
                node.failed += 1
                load.observe_response(latency_s, False, now)
            elif outcome is _REFUSED:
                node.refused += 1
            if self._leaving:
                closing = self._take_idle_leavers()
            if own <= 1 and node.info.state is _DRAINING and node.link is not None:
                idle = _let_go(node)
        if closing:
            for left in closing:
                left.link.close_soon()
        if idle is not None:
            idle.close_soon()

    # --- changes ---------------------------------------------------------------------------

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` (any thread, soon) after each change; return how to stop that."""
        self._listeners = [*self._listeners, callback]

        def stop() -> None:
            self._listeners = [one for one in self._listeners if one is not callback]

        return stop

    def close(self) -> None:
        """Close every link; calls in flight on them end as their kind decides."""
        with self.lock:
            nodes = [n for n in (*self.nodes.values(), *self._leaving) if n.link is not None]
            self.nodes = {}
            self._leaving = []
            self.table = None
            self.closed = True
            self._moved()
        self._after_change(nodes)

    def forget_all(self, client_id: str) -> None:
        """Begin anew after a fork: nothing of the parent's can be used, not even to close it."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.client_id = client_id
        self.rng = random.Random()
        self.client = ClientLoad()
        self.nodes = {}
        self.table = None
        self.waiting = 0
        self.refusal = None
        self._leaving = []
        self._listeners = []
        self._own_at.clear()
        self.generation += 1

    def link_of(self, node: Node) -> Any:
        """Return the node's link, made now if there is none yet."""
        link = node.link
        if link is None:
            with self.lock:
                if node.link is None:
                    node.link = self._opener(self, node)
                link = node.link
        return link

    def touch(self) -> None:
        """Make every view look again, and every waiting call with it."""
        with self.lock:
            self._moved()
        self._after_change([])

    def _moved(self) -> None:
        self.generation += 1
        self.changed.notify_all()

    def _after_change(self, closing: Iterable[Node]) -> None:
        for node in closing:
            node.link.close()
        for callback in self._listeners:
            callback()

    def _take_idle_leavers(self) -> list[Node]:
        gone = [n for n in self._leaving if n.load.in_flight <= 0]
        self._leaving = [n for n in self._leaving if n.load.in_flight > 0]
        return [n for n in gone if n.link is not None]


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
        self._picks = _Picks(-1, (), None)

    def close(self) -> None:
        """End the view: whoever picks from it from now on gets gRPC's error for that."""
        self._closed = True
        self.routes.touch()

    def refresh(self) -> None:
        """Bring the picks up to date, which begins to connect where that is still to do."""
        if not self._closed and self._picks.generation != self.routes.generation:
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._rebuild()

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
                node = self._other_than(tried, picks.nodes, now) or node
            elif picks.limited and not _has_room(node):
                node = next(filter(_has_room, sorted(picks.nodes, key=_fullness)), node)
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
        return zones.build(
            module.build,
            [node.candidate for node in nodes],
            self.routes.client,
            self.routes.rng,
            params,
            self.zone,
        )

    def _other_than(self, tried: Sequence[Node], nodes: Sequence[Node], now: float) -> Node | None:
        left = [node for node in nodes if node not in tried]
        table = self.routes.table
        if not left or table is None:
            return None
        return left[self._build(left, table).pick(now)]

    def _rebuild(self) -> _Picks:
        """Build picks of the nodes that can be reached; begin to connect to the rest."""
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        routes = self.routes
        with routes.lock:
            generation = routes.generation
            table = routes.table
            known = list(routes.nodes.values())
        if table is None:
            self._picks = _Picks(generation, (), None)
            return self._picks
        for node in known:
            if node.info.state is not NodeState.DRAINING:
                link = routes.link_of(node)
                if node.link_state is LinkState.IDLE:
                    link.connect()
        nodes = choose(known)
        self._picks = _Picks(generation, nodes, self._build(nodes, table) if nodes else None)
        return self._picks


def _let_go(node: Node) -> Any:
    """Take an idle node's link off it, to be closed by the caller; a later pick makes another."""
    link, node.link = node.link, None
    node.link_state = LinkState.IDLE
    return link


def _has_room(node: Node) -> bool:
    return node.info.limit is None or node.load.in_flight < node.info.limit


def _fullness(node: Node) -> float:
    return node.load.in_flight / (node.info.limit or node.info.slots or 1)


def choose(known: Sequence[Node]) -> list[Node]:
    """Return the nodes to pick from: the best kind of which there is one; none: wait.

    Connected ones. While there is none but some may yet connect, the call waits for the first, so
    that one address that swallows packets holds up nobody. With every node dead, all, so that one
    is tried. Unhealthy ones only where nothing better is left, draining ones never.
    """
    open_ = [n for n in known if n.info.state is not NodeState.DRAINING]
    healthy = [n for n in open_ if n.info.state is not NodeState.UNHEALTHY]
    for group in (healthy, open_):
        ready = [n for n in group if n.link_state is LinkState.READY]
        if ready:
            return ready
        if any(n.link_state is not LinkState.DOWN for n in group):
            return []
    return open_
