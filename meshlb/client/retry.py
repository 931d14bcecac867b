"""What an ended attempt means, and whether the call goes on: pure.

gRPC's rules (gRFC A6), completed by what the stub knows. A call that never reached a server always
moves to another node. One that a server may have begun is sent again only if its method is
idempotent and the caller has seen nothing of the answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from meshlb.client.node import Outcome

Code = grpc.StatusCode
_BLAMED = frozenset(
    (
        Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED, Code.CANCELLED,
    )
)  # fmt: skip
# gRPC gives one code to "refused" and to "died midway"; only the text, which its channel begins in
# one of these ways, tells them apart. A server may hand on such a text about a back end of its own.
_NEVER_REACHED = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "errors resolving ",
    "dns resolution failed",
    "empty address list",
)
_NUMERIC = re.compile(r"\[?[0-9a-f.:]*[.:][0-9a-f.:]*\]?:[0-9]+\Z")
_WHEN_LOST = frozenset((Code.UNKNOWN, Code.INTERNAL, Code.CANCELLED))
_LOST = (
    "socket closed", "reset", "goaway", "broken pipe", "recvmsg", "endpoint closing", "transport",
    "cancelling all calls", "timed out", "ping timeout", "keepalive", "rst_stream",
    "stream removed",
)  # fmt: skip
_LOST_WHATEVER_THE_CODE = ("stream removed", "rst_stream", "goaway")
_OWN_FAULT = (
    "exception serializing request",
    "exception deserializing response",
    "exception iterating requests",
)

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
    waits: bool = False
    """It waits for a node, so a deadline that comes first is what ends the call."""


def never_reached(code: Code, details: str | None, address: str) -> bool:
    """Return whether a call was refused on its way to ``address`` (HOST:PORT), so no server saw it.

    A numeric address must stand in the text, so that a server's words about a back end that it
    could not reach are not taken for its own channel's.
    """
    if code is not Code.UNAVAILABLE:
        return False
    text = (details or "").lower()
    if not text.startswith(_NEVER_REACHED):
        return False
    named = address.lower()
    if text.startswith("errors resolving "):
        return named in text
    return named in text or not _NUMERIC.match(named) or "last error" not in text


def outcome_of(code: Code, details: str | None, address: str = "") -> Outcome:
    """Return what a status says about the node at ``address`` (the caller did not cancel)."""
    if code is Code.OK:
        return Outcome.OK
    if code not in _BLAMED:
        return Outcome.ANSWERED
    if never_reached(code, details, address):
        return Outcome.REFUSED
    if (details or "").lower().startswith(_OWN_FAULT):
        return Outcome.ANSWERED
    return Outcome.FAILED


def connection_lost(code: Code, details: str | None) -> bool:
    """Return whether the status was made here because the connection went, not sent by a server."""
    text = (details or "").lower()
    if code is Code.UNAVAILABLE:
        return any(part in text for part in _LOST)
    return code in _WHEN_LOST and text.startswith(_LOST_WHATEVER_THE_CODE)


def pushback_s(trailing: Sequence[tuple[str, str | bytes]] | None) -> float | None:
    """Return how long the server asks to wait; None: it does not ask, negative: for ever.

    What cannot be read is for ever too (gRFC A6).
    """
    asked = next((value for key, value in trailing or () if key == PUSHBACK_KEY), None)
    if asked is None:
        return None
    text = asked if isinstance(asked, str) else asked.decode("ascii", "replace")
    # More digits than any time has are no time.
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 16 else -1.0


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
    delay_s = pushback_s(trailing)
    if delay_s is not None:
        return None if delay_s < 0 else Again(delay_s, "the server asked for this delay")
    if lost:
        return Again(0.0, "connection lost, method idempotent")
    backoff_s = min(
        policy.max_backoff_s, policy.initial_backoff_s * policy.multiplier ** (attempts - 1)
    )
    return Again(backoff_s * rng.uniform(0.8, 1.2), f"{code.name}, method idempotent")
