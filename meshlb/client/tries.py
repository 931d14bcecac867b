"""The attempts of one call: which nodes were tried, and whether there is another try.

Shared by threads and asyncio. Made only once an attempt has failed: a call that succeeds at once
costs nothing here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from meshlb.client.node import LinkState, Node, Outcome
from meshlb.client.retry import (
    IDEMPOTENT,
    ONCE,
    Again,
    RetryPolicy,
    after_started,
    connection_lost,
    outcome_of,
    pushback_s,
)
from meshlb.client.routes import Routes
from meshlb.model import NodeState

log = logging.getLogger("meshlb.client")

WAIT_FOR_READY_S = 0.1
"""A call that waits for ready, or for nodes that start, looks again this often when every node
refused it."""

MOST_PUSHED_S = 300.0
"""A server that asks for more is left alone for so long (Linkerd)."""
UNANSWERED = "no answer within the time limit of an attempt"
_RESUMED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def request_for_rest(
    hook: Callable[[Any, Sequence[Any]], Any], request: Any, received: Sequence[Any]
) -> Any:
    """Return what asks for the rest of an answer that broke; None: nothing is missing.

    The hook is the caller's, and is asked only of messages that came since ``request`` was made.
    """
    return hook(request, tuple(received)) if received else request


def policy_of(routes: Routes, method: str, policy: RetryPolicy | None) -> RetryPolicy:
    """Return how a method may be sent again; ``policy``: what the service config says, if it does.

    Else the controller may have named the method.
    """
    if policy is not None:
        return policy
    table = routes.table
    if table is None or not table.idempotent_methods:
        return ONCE
    listed = table.idempotent_methods
    prefix = method[: method.rfind("/") + 1]
    return IDEMPOTENT if method in listed or prefix in listed else ONCE


class Tries:
    """What became of one call so far."""

    __slots__ = (
        "_method",
        "_policy",
        "_routes",
        "_wait_for_ready",
        "_waited",
        "attempts",
        "complete",
        "final",
        "in_vain",
        "refused",
        "tried",
    )

    def __init__(
        self, routes: Routes, method: str, policy: RetryPolicy | None, wait_for_ready: bool | None
    ) -> None:
        self._routes = routes
        self._method = method
        self._policy = policy
        self._wait_for_ready = bool(wait_for_ready)
        self._waited = False
        self.attempts = 0
        """Attempts that reached a server since there was progress."""
        self.tried: list[Node] = []
        self.refused = False
        """The last attempt never reached a server, and there is no other node to try."""
        self.final = False
        """The last attempt's end is the call's, whatever another attempt beside it does."""
        self.in_vain = False
        """It waited for a node, and its deadline passed while none could be reached yet."""
        self.complete = False
        """The resume hook said that nothing is missing: the call ended well."""

    def failed(
        self,
        node: Node,
        began_at: float,
        now: float,
        error: tuple[grpc.StatusCode, str | None, Sequence[Any] | None],
        *,
        delivered: bool = False,
        resume: Callable[[], bool] | None = None,
        overdue: bool = False,
    ) -> Again | None:
        """Count one failed attempt out; return when and why there is another, None: none.

        ``overdue``: it was ended here, since no message came within the time limit of an attempt.

        ``delivered``: messages have reached the caller, so that only ``resume`` can go on; it
        prepares the next request and returns whether there is one. If there is none, ``complete``
        is set: the call ends with OK.
        """
        code, details, trailing = error
        self.final = delivered
        self.in_vain = (
            self._waited
            and code is grpc.StatusCode.DEADLINE_EXCEEDED
            and node.link_state is LinkState.DOWN
        )
        if overdue:
            return self._overdue(node, began_at, now, resume if delivered else None, delivered)
        outcome = outcome_of(code, details, node.info.address)
        link = node.link  # ending the last call at a draining node takes it away
        full_s = pushback_s(trailing) if outcome is Outcome.FAILED else None
        # A server that is full is as slow as it says.
        took_s = max(now - began_at, min(full_s or 0.0, MOST_PUSHED_S))
        self._routes.end(node, took_s, outcome, now)
        if full_s is not None and full_s > 0:
            self._routes.spare(node, now + min(full_s, MOST_PUSHED_S))
        again_here = node in self.tried
        self.tried.append(node)
        if outcome is Outcome.REFUSED:
            if node.link is link:
                link.refused()
            if not again_here:
                return Again(0.0, "never reached a server")
            if self._untried():  # it came with a newer table, after this attempt had begun
                return Again(WAIT_FOR_READY_S, "another node has not been tried yet")
            if self._wait_for_ready or self._routes.starting:
                self._waited = True
                return Again(WAIT_FOR_READY_S, "every node refuses", waits=True)
            self.refused = True
            return None
        lost = outcome is Outcome.FAILED and connection_lost(code, details)
        if lost and node.link is link:
            link.lost()
        self.attempts += 1
        if delivered:
            blamed = outcome is Outcome.FAILED and (lost or code in _RESUMED)
            if not blamed or resume is None or (full_s is not None and full_s < 0):
                return None
            return self._resumed(resume, full_s or 0.0)
        policy = policy_of(self._routes, self._method, self._policy)
        self.final = not lost and code not in policy.codes
        again = after_started(policy, code, details, self.attempts, trailing, self._routes.rng)
        if again is not None and not lost and not self._routes.may_add(now):
            return None
        return again

    def _overdue(
        self,
        node: Node,
        began_at: float,
        now: float,
        resume: Callable[[], bool] | None,
        delivered: bool,
    ) -> Again | None:
        """Count out an attempt that was ended here, so there was another to follow it."""
        routes = self._routes
        routes.end(node, now - began_at, Outcome.CANCELLED, now)
        routes.outrun(node, now)
        routes.must_add(now)
        self.tried.append(node)
        self.attempts += 1
        if delivered:
            return None if resume is None else self._resumed(resume)
        return Again(0.0, UNANSWERED)

    def _resumed(self, resume: Callable[[], bool], delay_s: float = 0.0) -> Again | None:
        if self.attempts > IDEMPOTENT.max_attempts:
            return None
        try:
            self.complete = not resume()
        except Exception:
            log.exception("the resume hook of %s failed", self._method)
            return None
        return None if self.complete else Again(delay_s, "stream resumed where it broke")

    def _untried(self) -> bool:
        nodes = list(self._routes.nodes.values())
        return any(n.info.state is not NodeState.DRAINING and n not in self.tried for n in nodes)

    def progressed(self) -> None:
        """Note that a message came: attempts and tried nodes count anew."""
        if self.attempts:
            self.attempts = 0
            self.tried.clear()
