"""One node as a client has it: where it is, whether it can be reached, and what it was asked.

Knows no gRPC: a link is whatever the opener of ``routes`` returns.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

from meshlb.model import TableNode
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad
from meshlb.policy.stall import Stall


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
        "link_state", "load", "refused", "spent_at", "stall", "started", "succeeded",
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
        self.stall = Stall()
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

    def let_go(self) -> Any:
        """Take the link off, to be closed by the caller; a later pick makes another."""
        link, self.link = self.link, None
        self.link_state = LinkState.IDLE
        return link
