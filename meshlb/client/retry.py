"""What an ended attempt means, and whether the call goes on: pure.

gRPC's rules (gRFC A6), completed by what the stub knows. A call that never reached a server always
moves to another node. One that a server may have begun is sent again only if its method is
idempotent and the caller has seen nothing of the answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from meshlb.client.routes import Outcome

Code = grpc.StatusCode
_BLAMED = frozenset(
    (
        Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED, Code.CANCELLED,
    )
)  # fmt: skip
# gRPC gives one code to "refused" and to "died midway"; only the text tells them apart.
_NEVER_REACHED = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "failed to connect to remote host",
    "connection refused",
    "dns resolution failed",
    "name resolution failure",
    "empty address list",
    "connect timeout",
)
_WHEN_LOST = frozenset((Code.UNAVAILABLE, Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL))
_LOST = (
    "socket closed", "reset", "goaway", "broken pipe", "recvmsg", "endpoint closing", "transport",
    "cancelling all calls", "timed out", "rst_stream", "stream removed",
)  # fmt: skip
_OWN_FAULT = ("exception serializing request", "exception deserializing response")

PUSHBACK_KEY = "grpc-retry-pushback-ms"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a method may be sent again; the fields of gRPC's ``retryPolicy``."""

    max_attempts: int = 3
    """Attempts that reached a server, the first included; 1: none is repeated."""
    codes: frozenset[Code] = frozenset({Code.UNAVAILABLE})
    initial_backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    multiplier: float = 2.0


ONCE = RetryPolicy(max_attempts=1, codes=frozenset())
IDEMPOTENT = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after ``delay_s``, on another node if there is one."""

    delay_s: float
    reason: str


def outcome_of(code: Code, details: str | None) -> Outcome:
    """Return what a status says about the node that gave it (the caller did not cancel)."""
    if code is Code.OK:
        return Outcome.OK
    if code not in _BLAMED:
        return Outcome.ANSWERED
    text = (details or "").lower()
    if code is Code.UNAVAILABLE and any(part in text for part in _NEVER_REACHED):
        return Outcome.REFUSED
    if text.startswith(_OWN_FAULT):
        return Outcome.ANSWERED
    return Outcome.FAILED


def connection_lost(code: Code, details: str | None) -> bool:
    """Return whether the status was made here because the connection went, not sent by a server."""
    text = (details or "").lower()
    return code in _WHEN_LOST and any(part in text for part in _LOST)


def after_started(
    policy: RetryPolicy,
    code: Code,
    details: str | None,
    attempts: int,
    trailing: Sequence[tuple[str, str | bytes]] | None,
    rng: random.Random,
) -> Again | None:
    """Return whether a call goes on after ``attempts`` that reached a server; None: it ended.

    Nothing of the answer may have reached the caller. A lost connection is no overload, so the
    next node is tried at once; a status that a server sent waits out the back-off, or what the
    server asks for.
    """
    lost = policy.max_attempts > 1 and connection_lost(code, details)
    if attempts >= policy.max_attempts or not (lost or code in policy.codes):
        return None
    pushback = next((value for key, value in trailing or () if key == PUSHBACK_KEY), None)
    if pushback is not None:
        text = pushback if isinstance(pushback, str) else pushback.decode("ascii", "replace")
        if not text.isdigit():  # negative or unreadable: the server says do not (A6)
            return None
        return Again(int(text) / 1000, "the server asked for this delay")
    if lost:
        return Again(0.0, "connection lost, method idempotent")
    backoff_s = min(
        policy.max_backoff_s, policy.initial_backoff_s * policy.multiplier ** (attempts - 1)
    )
    return Again(backoff_s * rng.uniform(0.8, 1.2), f"{code.name}, method idempotent")
