"""How long one attempt of a response stream may let its reader wait.

Until its first message it has the time limit of an attempt, after that ``idleTimeout``, which only
a stream that can be resumed has; if none is set, a second at a node that answers nobody. It counts
while somebody waits for the message: what nobody reads is not late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from meshlb.client.method import Method
from meshlb.client.node import Node
from meshlb.client.retry import IDEMPOTENT
from meshlb.client.tries import UNANSWERED
from meshlb.client.waiting import NoNodeError

DEAF_S, GRACE_S = 0.25, 0.1
"""A look that comes so much too late was held up, and so may the message be: once, it may take so
long to come in."""


class Patience:
    """State of one attempt. Guarded by whoever guards the attempt."""

    __slots__ = ("came", "deaf", "dropped", "due", "first_s", "over", "since")

    def __init__(self, first_s: float | None) -> None:
        self.first_s = first_s
        """Time to the first message; None: any."""
        self.came = False
        """A message has come."""
        self.since: float | None = None
        """Since when somebody has waited for a message; None: nobody waits."""
        self.due: Callable[[], Any] | None = None
        """Calls the next look off; None: none is due."""
        self.deaf = False
        """A look came too late, and time was given for it."""
        self.over = False
        """The attempt was ended, since there was no message in time."""
        self.dropped = False
        """A message met that end and was left out, so the attempt's answer is not whole."""

    def limit_s(self, idle_s: float | None) -> float | None:
        """Return how long a message may let wait now; None: any time."""
        return idle_s if self.came else self.first_s

    def left_s(self, now: float, method: Method, attempts: int, node: Node) -> float | None:
        """Return the time that is left, 0 if it is over; None: there is no limit any more.

        A stream is not given up where nothing could take its place: what the first message may
        take was found with that in mind, and for others the limit begins anew. So it does if no
        idle time was set and the node, silent in this stream, does answer other calls.
        """
        limit_s = self.limit_s(method.idle_s)
        if limit_s is None:
            return None
        left_s = limit_s if self.since is None else self.since + limit_s - now
        if left_s < -DEAF_S and not self.deaf:
            self.deaf = True
            return GRACE_S
        if left_s > 0 or not self.came:
            return max(0.0, left_s)
        routes = method.routes
        if not method.idle_set and not node.standing.silent:
            return limit_s
        could = attempts < IDEMPOTENT.max_attempts and method.view.has_other(node)
        return 0.0 if could and routes.budget.has_room(routes.started, now) else limit_s

    def leaves_out(self) -> bool:
        """Return whether a message that has just come is to be left out; note that it was.

        Who took it would have part of an answer that was given up, with nobody to say the rest.
        """
        self.dropped = self.dropped or self.over
        return self.over

    def call_off(self) -> None:
        """Look no more."""
        if self.due is not None:
            self.due()
            self.due = None


def unanswered(node: Node, *, late: bool) -> NoNodeError:
    """Return the error of a call whose last attempt was ended so; ``late``: its deadline came."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE
    return NoNodeError(code, f"{UNANSWERED}: node {node.info.node_id} at {node.info.address}")
