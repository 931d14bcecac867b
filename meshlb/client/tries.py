"""The attempts of one call: which nodes were tried, and whether there is another try.

Shared by threads and asyncio. Made only once an attempt has failed: a call that succeeds at once
costs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from meshlb.client.retry import (
    IDEMPOTENT,
    ONCE,
    Again,
    RetryPolicy,
    after_started,
    connection_lost,
    outcome_of,
)
from meshlb.client.routes import Node, Outcome, Routes

WAIT_FOR_READY_S = 0.1
"""A call that waits for ready looks again this often when every node refused it."""

_RESUMED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Tries:
    """What became of one call so far."""

    __slots__ = ("_method", "_policy", "_routes", "_wait_for_ready", "attempts", "tried")

    def __init__(
        self, routes: Routes, method: str, policy: RetryPolicy | None, wait_for_ready: bool | None
    ) -> None:
        self._routes = routes
        self._method = method
        self._policy = policy
        self._wait_for_ready = bool(wait_for_ready)
        self.attempts = 0
        """Attempts that reached a server since there was progress."""
        self.tried: list[Node] = []

    def failed(
        self,
        node: Node,
        found: float,
        began_at: float,
        now: float,
        error: tuple[grpc.StatusCode, str | None, Sequence[Any] | None],
        *,
        delivered: bool = False,
        resume: Callable[[], bool] | None = None,
    ) -> Again | None:
        """Count one failed attempt out; return when and why there is another, None: none.

        ``delivered``: messages have reached the caller, so that only ``resume`` can go on; it
        prepares the next request and returns whether there is one.
        """
        code, details, trailing = error
        outcome = outcome_of(code, details)
        self._routes.end(node, found, now - began_at, outcome, now)
        again_here = node in self.tried
        self.tried.append(node)
        if outcome is Outcome.REFUSED:
            node.link.refused()
            if not again_here:
                return Again(0.0, "never reached a server")
            if self._wait_for_ready:
                return Again(WAIT_FOR_READY_S, "every node refuses, and the call waits for ready")
            return None
        if outcome is not Outcome.FAILED:
            return None
        lost = connection_lost(code, details)
        if lost:
            node.link.lost()
        self.attempts += 1
        if delivered:
            if resume is None or not (lost or code in _RESUMED):
                return None
            if self.attempts > IDEMPOTENT.max_attempts or not resume():
                return None
            return Again(0.0, "stream resumed where it broke")
        again = after_started(
            self._effective_policy(), code, details, self.attempts, trailing, self._routes.rng
        )
        if again is not None and not lost:
            with self._routes.lock:
                if not self._routes.budget.take(self._routes.started, now):
                    return None
        return again

    def progressed(self) -> None:
        """Note that a message came: attempts and tried nodes count anew."""
        if self.attempts:
            self.attempts = 0
            self.tried.clear()

    def _effective_policy(self) -> RetryPolicy:
        if self._policy is not None:
            return self._policy
        table = self._routes.table
        listed = () if table is None else table.idempotent_methods
        prefix = self._method[: self._method.rfind("/") + 1]
        return IDEMPOTENT if self._method in listed or prefix in listed else ONCE
