"""What a client knows of the load on its nodes, and the occupancy that follows from it.

The client's shell writes these counts (under its own lock), pickers read them. A client alone sees
only its own calls; the controller adds its share of all calls and the counts of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshlb.model import SpeedCurve, TableNode

TRUST_OWN_AT = 8.0
"""Own calls in flight from which a client's own counts, scaled by its share, say it all."""

USUAL_SHARE = 0.1
"""Weight of the newest count in what is usual at a node: about the last ten of them."""

EWMA_TAU_S = 10.0
"""Decay of the response time average (Finagle, Linkerd)."""

USUAL_FAILING = 0.95
"""What is left of the failing part after one call more."""

FAILING_TAU_S = 10.0
"""Without calls it is forgotten in this time, so that the node is tried again."""

LEAST_FAILING = 0.01
"""Less is nothing."""

ERROR_PENALTY_S = 5.0
"""An error counts as this response time, so that a fast failing node never looks fast (Linkerd)."""


class NodeLoad:
    """Live counts of one node in one client; outlives tables."""

    __slots__ = (
        "answer_s", "failing", "in_flight", "others", "response_at", "response_s", "usual",
    )  # fmt: skip

    def __init__(self) -> None:
        self.in_flight = 0
        """Own calls started and not done."""
        self.others: float | None = None
        """Calls of all other clients, as expected from the controller's last count; None: unknown
        or stale."""
        self.usual: float | None = None
        """Smoothed count of these; None: none yet."""
        self.response_s: float | None = None
        """Peak EWMA of response times; None: none seen yet."""
        self.response_at = 0.0
        """When that was last updated."""
        self.answer_s = 0.0
        """How long the last call that ended well took to its first answer."""
        self.failing = 0.0
        """Part of its calls that fail, of the last 20 or so; forgotten in time."""

    def count_others(self, counted: float | None, age_s: float, curve: SpeedCurve | None) -> None:
        """Take the controller's count of the others in; it will be about ``age_s`` old when used.

        Calls come and go in the node's latency, so by then the count has gone some of the way back
        to what is usual there: exp(-age / 2 latency) of the difference is left. None: not known.
        """
        if counted is None:
            self.others = None
            return
        usual = self.usual
        if usual is None:
            self.usual = self.others = counted
            return
        self.usual = usual = usual + USUAL_SHARE * (counted - usual)
        keep = 1.0 if curve is None else math.exp(-0.5 * age_s / curve.latency_s(usual))
        self.others = usual + (counted - usual) * keep

    def observe_response(self, latency_s: float, ok: bool, now: float) -> None:
        """Take one ended call in: a slower one replaces the average, a faster one decays it."""
        sample = latency_s if ok else max(latency_s, ERROR_PENALTY_S)
        known = self.response_s
        if known is None or sample >= known:
            self.response_s = sample
        else:
            keep = math.exp(-max(0.0, now - self.response_at) / EWMA_TAU_S)
            self.response_s = known * keep + sample * (1.0 - keep)
        self.response_at = now

    def observe_outcomes(self, good: int, failed: int, elapsed_s: float) -> None:
        """Take in how many calls ended well and how many failed in the last ``elapsed_s``."""
        self.failing = failing_part(self.failing, good, failed, elapsed_s)


def failing_part(before: float, good: int, failed: int, elapsed_s: float) -> float:
    """Return the part of calls that fail, smoothed over about 20 calls, and forgotten in time."""
    kept = math.exp(-elapsed_s / FAILING_TAU_S)
    calls = good + failed
    if calls <= 0:
        found = before * kept
    else:
        last = USUAL_FAILING**calls
        found = before * kept * last + (1.0 - last) * failed / calls
    return 0.0 if found < LEAST_FAILING else found


class ClientLoad:
    """Live counts of one client over all of its nodes."""

    __slots__ = ("count_age_s", "in_flight", "per_node", "share")

    def __init__(self) -> None:
        self.in_flight = 0
        """Own calls in flight, all nodes."""
        self.share: float | None = None
        """This client's part of all calls in flight, in (0, 1]; None: unknown."""
        self.count_age_s: float | None = None
        """About how old the counts of others are when used; None: there are none, or stale."""
        self.per_node: int | None = None
        """Calls of all clients that a node may have in flight; None: no limit."""


def occupancy(node: NodeLoad, client: ClientLoad) -> float:
    """Return the calls likely in flight at the node, all clients together.

    A blend: own count scaled up by the share where the client has many calls of its own or nearly
    all calls are its own, the controller's count of the others plus the own ones where it has few.
    """
    own = node.in_flight
    share = client.share
    others = node.others
    if others is None:
        return own if share is None else own / share
    if share is None:
        return own + others
    if share >= 1.0:
        return own
    trust = client.in_flight / (TRUST_OWN_AT * (1.0 - share))
    if trust >= 1.0:
        return own / share
    return trust * own / share + (1.0 - trust) * (own + others)


def bucket(found: float) -> int:
    """Return the latency bucket of an occupancy: exact to 32, then five significant bits."""
    n = int(found + 0.5)
    if n < 32:
        return n
    shift = n.bit_length() - 5
    return n >> shift << shift


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that a picker may choose, with its live counts."""

    node: TableNode
    load: NodeLoad
