"""What all channels of one process (and loop) to one target share: table, counts and links.

Written by the subscription (tables, shares), by links (connected, refused) and by calls (``end``
here, ``begin`` in ``view``). Knows no gRPC, so threads and asyncio share all of this. Long because
all of it is under one lock.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from meshlb.client.budget import RetryBudget
from meshlb.client.gate import Gate
from meshlb.client.judgement import Judgement, tell
from meshlb.client.node import Link, LinkState, Node, Outcome
from meshlb.model import CallReport, LoadShare, NodeCalls, NodeState, Table, TableNode
from meshlb.policy.load import EWMA_TAU_S, ClientLoad

REMEMBERED_REPORTS = 64
STALE_SHARE_INTERVALS = 5

# Reading a member off an Enum class is slow, and ``end`` is on every call's way.
_OK, _FAILED, _REFUSED = Outcome.OK, Outcome.FAILED, Outcome.REFUSED
_ANSWERED = Outcome.ANSWERED
_DRAINING = NodeState.DRAINING

Key = tuple[str, int, str, str]


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
        self.nodes: dict[Key, Node] = {}
        self.table: Table | None = None
        self.starting = False
        """More nodes start, as the controller says that is watched; without one nobody knows."""
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
        self.gate: Gate | None = None
        """Where calls come in; None: they are not limited."""
        self._gate = Gate(self)
        self.budget = RetryBudget()
        self.started = 0
        """Attempts begun, all nodes."""
        self._judgement = Judgement()

    # --- written by the subscription -------------------------------------------------------

    def apply_table(self, table: Table) -> None:
        """Swap the whole table; nodes that stay keep their counts and links."""
        with self.lock:
            old = self.nodes
            fresh: dict[Key, Node] = {}
            for info in table.nodes:
                key = _key(info)
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
            closing += [n.let_go() for n in fresh.values() if n.link is not None
                          and n.info.state is _DRAINING and n.load.in_flight <= 0]  # fmt: skip
            self.table = table
            self.starting = table.starting
            self.refusal = None
            self.gate = self._gate.take(table)
            self._moved()
        self._gate.look()
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
        self._gate.admit(share.admitted)

    def expire(self, now: float) -> None:
        """Judge nodes by what their calls do, and drop counts of others that are stale.

        To be called every ``LOOK_S`` while calls are in flight. Own counts and the share go on.
        """
        with self.lock:
            found = self._judgement.look(self.nodes.values(), now, self.rng)
            if found.changed:
                self._moved()
            if now > self._share_until and self.client.count_age_s is not None:
                self.client.count_age_s = None
                for node in self.nodes.values():
                    node.load.others = None
        for node, reason in found.told:
            tell(node, reason)
        for node, link in found.silent:
            link.probe(partial(self._probed, node))
        if found.changed:
            self._after_change()

    def _probed(self, node: Node) -> None:
        """Note that a silent node answered when it was asked for its health."""
        with self.lock:
            reason = node.standing.reason
            changed = node.probed(self._judgement.looked_at)
        if changed:
            tell(node, f"{reason}, but its server answers")
            self.touch()

    def refuse(self, text: str) -> None:
        """Note that every controller has refused and there is no table."""
        with self.lock:
            if self.table is not None or self.refusal == text:
                return
            self.refusal = text
            self._moved()
        self._after_change()

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

    def link_changed(self, node: Node, link: Link, state: LinkState) -> None:
        """Note whether a node can be reached; picks follow at the next call.

        What a link tells that the node has let go of is about nothing any more.
        """
        with self.lock:
            if node.link is not link or node.link_state is state:
                return
            node.link_state = state
            self._moved()
        self._after_change()

    # --- written by calls ------------------------------------------------------------------

    def end(self, node: Node, latency_s: float, outcome: Outcome, now: float) -> None:
        """Take one ended attempt in; exactly once for each ``View.begin`` that gave a node."""
        closing = None
        shut = False
        with self.lock:
            load = node.load
            own = load.in_flight
            node.in_flight_time_s += own * (now - node.spent_at)
            node.spent_at = now
            load.in_flight = own - 1
            node.client.in_flight -= 1
            if outcome is _OK:
                node.succeeded += 1
                load.answer_s = latency_s
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
                shut = node.standing.failed(node.good, now, self.rng)
                if shut:
                    self._moved()
            elif outcome is _REFUSED:
                node.refused += 1
            elif outcome is _ANSWERED:
                node.answered += 1
            if self._leaving:
                closing = self._take_idle_leavers()
            if own <= 1 and node.info.state is _DRAINING and node.link is not None:
                closing = [*(closing or ()), node.let_go()]
        if closing:
            for link in closing:
                link.close_soon()
        if shut:
            tell(node, node.standing.reason)
            self._after_change()

    def outrun(self, node: Node, now: float) -> None:
        """Note that another node answered a call first that was asked of this one before."""
        with self.lock:
            shut = node.standing.outrun(node.good, now, self.rng)
            if shut:
                self._moved()
        if shut:
            tell(node, node.standing.reason)
            self._after_change()

    def spare(self, node: Node, until: float) -> None:
        """Give a node that is full no new calls for a while, if others have room."""
        with self.lock:
            first = not node.spared_until
            node.spared_until = max(node.spared_until, until)
            if first:
                self._moved()
        if first:
            self._after_change()

    def may_add(self, now: float) -> bool:
        """Return whether one more attempt may be made than there are calls, and count it."""
        with self.lock:
            return self.budget.take(self.started, now)

    def must_add(self, now: float) -> None:
        """Count one attempt more than there are calls, which is made whatever the budget says."""
        with self.lock:
            self.budget.owe(self.started, now)

    # --- changes ---------------------------------------------------------------------------

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` (any thread, soon) after each change; return how to stop that."""
        with self.lock:
            self._listeners = [*self._listeners, callback]

        def stop() -> None:
            with self.lock:
                self._listeners = [one for one in self._listeners if one is not callback]

        return stop

    def close(self) -> None:
        """Close every link; calls in flight on them end as their kind decides."""
        with self.lock:
            known = (*self.nodes.values(), *self._leaving)
            closing = [node.link for node in known if node.link is not None]
            self.nodes = {}
            self._leaving = []
            self.table = None
            self.closed = True
            self.gate = self._gate.take(None)
            self._moved()
        self._gate.look()
        self._after_change(closing)

    def forget_all(self, client_id: str) -> None:
        """Begin anew after a fork: nothing of the parent's can be used, not even to close it."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.client_id = client_id
        self.rng = random.Random()
        self.client = ClientLoad()
        self.nodes = {}
        self.table = None
        self.starting = False
        self.waiting = 0
        self.refusal = None
        self._leaving = []
        self._listeners = []
        self._own_at.clear()
        self._judgement = Judgement()
        self.gate, self._gate = None, Gate(self)
        self.generation += 1

    def link_of(self, node: Node) -> Any:
        """Return the node's link, made now if there is none yet; None if it is to have none.

        A newer table may have come since the caller looked: nobody would close a link to a node
        that drains or has left, and a drain waits until all are closed.
        """
        link = node.link
        if link is None:
            with self.lock:
                known = self.nodes.get(_key(node.info)) is node
                if node.link is None and known and node.info.state is not _DRAINING:
                    node.link = self._opener(self, node)
                link = node.link
        return link

    def successor(self, node: Node) -> Any:
        """Return another link to a node, which takes the place of its own once connected."""
        return self._opener(self, node)

    def replace_link(self, node: Node, link: Any) -> Any:
        """Put a connected link in a node's place; return the old one, None: there is none now."""
        with self.lock:
            old = node.link
            if old is None or self.closed:
                return None
            node.link = link
            node.link_state = LinkState.READY
            self._moved()
        self._after_change()
        return old

    def touch(self) -> None:
        """Make every view look again, and every waiting call with it."""
        with self.lock:
            self._moved()
        self._after_change()

    def _moved(self) -> None:
        self.generation += 1
        self.changed.notify_all()

    def _after_change(self, closing: Iterable[Link] = ()) -> None:
        for link in closing:
            link.close()
        for callback in self._listeners:
            callback()

    def _take_idle_leavers(self) -> list[Link]:
        gone = [n for n in self._leaving if n.load.in_flight <= 0]
        self._leaving = [n for n in self._leaving if n.load.in_flight > 0]
        return [node.let_go() for node in gone if node.link is not None]


def _key(info: TableNode) -> Key:
    """Return what makes a node another one, with a link and counts of its own."""
    return info.node_id, info.incarnation, info.address, info.authority
