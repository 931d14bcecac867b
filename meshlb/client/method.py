"""One method of one channel: its identity, its rules, and its multi-callables on each node."""

from __future__ import annotations

from collections.abc import MutableSet
from typing import Any

import grpc

from meshlb.client.later import Later
from meshlb.client.node import Node
from meshlb.client.options import Options
from meshlb.client.routes import Routes
from meshlb.client.sharing import Group
from meshlb.client.tries import Tries, policy_of
from meshlb.client.view import View
from meshlb.client.waiting_room import WaitingRoom
from meshlb.policy.attempt_limit import AttemptLimit
from meshlb.policy.hedge_delay import HedgeDelay

_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
SILENT_S = 1.0
"""A resumable stream whose reader has waited so long leaves a node that answers nobody."""
OF_LIMIT = 0.9
"""Clocks differ a little: gRPC ends an attempt no earlier than at this part of its limit."""
SPARE = 16
"""Multi-callables of links that are gone are dropped when there are so many more than nodes."""


class Method:
    """What the four multi-callables have in common."""

    __slots__ = (
        "__weakref__",
        "_arguments", "_group", "arity", "attempt_limit", "by_link", "calls", "hedge", "idle_s",
        "idle_set", "name", "owner", "policy", "priority", "resume", "timeout_s", "view", "waits",
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
        self.priority = options.priority
        """Class of its calls that name none."""
        self.timeout_s = options.timeout_s(name)
        """The most time that its calls may take; None: what each call says."""
        self.arity = arity
        hedging = None if arity.startswith("stream_") else options.hedging_of(name)
        self.hedge = None if hedging is None else HedgeDelay(hedging.delay_s)
        """When a call is asked of another node too; None: never."""
        self.attempt_limit = self._attempt_limit(options)
        """How long an attempt may wait for its first message; None: none of its are limited."""
        idle_s = options.idle_s(name)
        self.idle_set = idle_s is not None
        """Whether the limit below was set; otherwise it holds at silent nodes only."""
        resumable = self.resume is not None and arity == "unary_stream"
        self.idle_s = idle_s or SILENT_S if resumable else None
        """How long a resumable stream may wait for its next message; None: any time."""
        self.calls = calls
        """The channel's calls, so that closing it cancels them."""
        self.by_link: dict[Any, Any] = {}
        self.owner: Any = None
        """The channel, which must live while a stub does: generated stubs hold nothing else."""
        self._group = group
        group.register(self)
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

    def _attempt_limit(self, options: Options) -> AttemptLimit | None:
        repeats = self.policy is None or self.policy.max_attempts > 1
        if not repeats or self.hedge is not None or self.arity.startswith("stream_"):
            return None
        return AttemptLimit(options.attempt_s(self.name))

    def attempt_s(self, now: float, attempts: int = 0, left_s: float | None = None) -> float | None:
        """Return how long an attempt that begins now may wait for its first message; None: any.

        It is limited only where another could follow it: by the method's policy, from the retry
        budget, and on a node that was not tried in the ``attempts`` before.
        """
        limit, routes = self.attempt_limit, self.view.routes
        if limit is None:
            return None
        policy = self.policy or policy_of(routes, self.name, None)
        if attempts + 1 >= policy.max_attempts or self.view.choices <= attempts + 1:
            return None
        seconds = limit.seconds(left_s)
        if seconds is None or not routes.budget.has_room(routes.started, now):
            return None
        return seconds

    def bounded(
        self, left_s: float | None, now: float, attempts: int = 0
    ) -> tuple[float | None, float | None]:
        """Return the time that an attempt gets, and its limit if that is less than what is left."""
        limit_s = self.attempt_s(now, attempts, left_s)
        if limit_s is None or (left_s is not None and left_s <= limit_s):
            return left_s, None
        return limit_s, limit_s

    def overdue(self, limit_s: float | None, code: grpc.StatusCode, took_s: float) -> bool:
        """Return whether an attempt that failed so was ended by its own limit, if it had one.

        One that was not limited and waited in vain tells how long calls take now. A server may
        say the same of a deadline of its own, earlier.
        """
        if code is not _LATE:
            return False
        if limit_s is None and self.attempt_limit is not None:
            self.attempt_limit.observe(took_s)
        return limit_s is not None and took_s >= OF_LIMIT * limit_s

    def tries(self, wait_for_ready: bool | None) -> Tries:
        """Return the record of a call whose first attempt failed."""
        waits = self.waits if wait_for_ready is None else wait_for_ready
        return Tries(self.routes, self.name, self.policy, waits)
