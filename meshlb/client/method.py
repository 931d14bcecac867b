"""One method of one channel: its identity, its rules, and its multi-callables on each node."""

from __future__ import annotations

from collections.abc import MutableSet
from typing import Any

from meshlb.client.later import Later
from meshlb.client.node import Node
from meshlb.client.options import Options
from meshlb.client.routes import Routes
from meshlb.client.sharing import Group
from meshlb.client.tries import Tries
from meshlb.client.view import View
from meshlb.client.waiting_room import WaitingRoom
from meshlb.policy.hedge_delay import HedgeDelay

SPARE = 16
"""Multi-callables of links that are gone are dropped when there are so many more than nodes."""


class Method:
    """What the four multi-callables have in common."""

    __slots__ = (
        "_arguments", "_group", "arity", "by_link", "calls", "hedge", "name", "owner", "policy",
        "resume", "timeout_s", "view", "waits",
    )  # fmt: skip

    def __init__(
        self,
        view: View,
        group: Group,
        options: Options,
        arity: str,
        name: str,
        serializer: Any,
        deserializer: Any,
        calls: MutableSet[Any],
    ) -> None:
        self.view = view
        self.name = name
        self.policy = options.policy(name)
        self.waits = options.waits(name)
        """Whether its calls wait for ready unless they say otherwise."""
        self.resume = options.resume.get(name)
        self.timeout_s = options.timeout_s(name)
        """The most time that its calls may take; None: what each call says."""
        hedging = options.hedging_of(name) if arity == "unary_unary" else None
        self.hedge = None if hedging is None else HedgeDelay(hedging.delay_s)
        """When a call is asked of another node too; None: never."""
        self.calls = calls
        """The channel's calls, so that closing it cancels them."""
        self.by_link: dict[Any, Any] = {}
        self.owner: Any = None
        """The channel, which must live while a stub does: generated stubs hold nothing else."""
        self._group = group
        self.arity = arity
        self._arguments = (name, serializer, deserializer)

    @property
    def routes(self) -> Routes:
        """What the channel shares."""
        return self.view.routes

    @property
    def room(self) -> WaitingRoom:
        """Where its calls wait that do not block a thread."""
        return self._group.room

    @property
    def later(self) -> Later:
        """What does things a little later."""
        return self._group.later

    def open(self) -> None:
        """Subscribe, if no call has done so yet."""
        self._group.open()

    def on(self, node: Node) -> Any:
        """Return the multi-callable of the node's own channel."""
        link = node.link
        raw = self.by_link.get(link)
        if raw is None:
            if len(self.by_link) > len(self.routes.nodes) + SPARE:
                live = {n.link for n in list(self.routes.nodes.values())}
                for gone in self.by_link.keys() - live:
                    self.by_link.pop(gone, None)
            raw = self.by_link[link] = getattr(link.channel, self.arity)(*self._arguments)
        return raw

    def limit(self, timeout: float | None) -> float | None:
        """Return the time that a call may take which was given ``timeout``."""
        most = self.timeout_s
        return timeout if most is None else most if timeout is None else min(most, timeout)

    def tries(self, wait_for_ready: bool | None) -> Tries:
        """Return the record of a call whose first attempt failed."""
        waits = self.waits if wait_for_ready is None else wait_for_ready
        return Tries(self.routes, self.name, self.policy, waits)
