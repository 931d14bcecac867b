"""One node as a client has it: where it is, whether it can be reached, and what it was asked.

Knows no gRPC: a link is whatever the opener of ``routes`` returns.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import Any, Protocol

from meshlb.model import NodeState, TableNode
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad
from meshlb.policy.overdue import ENOUGH, Latencies, Silence
from meshlb.policy.sound import WORSE_BY
from meshlb.policy.standing import Standing


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

    def probe(self, alive: Callable[[], None]) -> None:
        """Ask the server for its health in the background; call ``alive`` if it answers at all."""

    def close_soon(self) -> None:
        """Let go of the connection without waiting. Callable from any thread."""


_EJECTED = NodeState.EJECTED
PROBE_EVERY_S, PROBES_LAST_S = 0.25, 1.0
"""A silent node is asked for its health so often, and has so long to answer."""


class Node:
    """One node of the table in this process; outlives tables."""

    __slots__ = (
        "_ended", "_looked_started", "_probe_at", "_silence", "_told_failing", "answered",
        "candidate", "client", "failed", "in_flight_time_s", "info", "link", "link_state", "load",
        "messages", "refused", "spared_until", "spent_at", "standing", "started", "succeeded",
    )  # fmt: skip

    def __init__(self, info: TableNode, client: ClientLoad) -> None:
        self.info = info
        self.load = NodeLoad()
        self.client = client
        """Whose sum its calls are part of; another after a fork."""
        self.link: Any = None
        self.link_state = LinkState.IDLE
        self.started = self.succeeded = self.failed = self.refused = 0
        self.answered = 0
        """Calls that ended with an error that is the caller's own."""
        self.messages = 0
        """Messages of streams that came from here; a sign of life, and no exact count."""
        self.in_flight_time_s = 0.0
        """Calls in flight summed over time, up to ``spent_at``."""
        self.spent_at = 0.0
        self.spared_until = 0.0
        """Before that its server, which was full, wants no calls."""
        self.standing = Standing()
        self._silence = Silence()
        self._looked_started = 0
        self._ended = (0, 0)
        """Calls that ended well and that failed, by the last look."""
        self._told_failing = 0.0
        """The part of its calls that failed when picks were last made for that."""
        self._probe_at = 0.0
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
            self.standing.reason if self.standing.shut else "",
        )  # fmt: skip

    def set_info(self, info: TableNode) -> None:
        """Take what a newer table says of the node."""
        if self.info.state is _EJECTED is not info.state:
            self.standing.returned(self.good, self.load.in_flight)
        self.info = info
        self.candidate = Candidate(info, self.load)

    def heard(self, first_s: float | None) -> None:
        """Note a message of a stream; ``first_s``: how long it took, if it is the first."""
        self.messages += 1
        if first_s is not None:
            self.load.answer_s = first_s

    @property
    def suspected(self) -> bool:
        """Whether it is left alone for what this client saw of it."""
        return self.standing.shut

    @property
    def good(self) -> int:
        """Calls that it answered as it should, ever."""
        return self.succeeded + self.answered

    def look(
        self, now: float, since_s: float, latencies: Latencies, rng: random.Random, *, deaf: bool
    ) -> bool:
        """Judge it by its counts; return whether picks are to be made anew.

        ``deaf``: nobody could listen since the last look, ``since_s`` seconds ago.
        """
        load, standing = self.load, self.standing
        in_flight, started = load.in_flight, self.started
        plain = not standing.shut and standing.most is None
        if in_flight <= 0 and started == self._looked_started and plain and not load.failing:
            return False
        self._looked_started = started
        silence, good, failed = self._silence, self.good, self.failed
        heard_count = good + self.messages
        heard = silence.heard(heard_count)
        if heard and load.answer_s > 0.0:
            silence.answered(load.answer_s)
            latencies.add(load.answer_s)
        if deaf:
            silence.held_up(since_s)
        silence.look(started, heard_count, in_flight, now, since_s)
        curve = self.info.curve
        base_s = None if curve is None else curve.base_s
        nepers = silence.evidence(in_flight, now, latencies, base_s)
        changed = False
        if not plain or nepers >= ENOUGH:
            changed = standing.look(good, heard, in_flight, nepers, now, rng)
        good_before, failed_before = self._ended
        self._ended = good, failed
        if failed != failed_before or load.failing:
            load.observe_outcomes(good - good_before, failed - failed_before, since_s)
            told = self._told_failing
            if abs(load.failing - told) >= WORSE_BY or (told and not load.failing):
                self._told_failing = load.failing
                changed = True
        return changed

    def wants_probe(self, now: float) -> bool:
        """Return whether it is to be asked for its health now, and note that it is."""
        if not self.standing.silent or self.link is None or now < self._probe_at:
            return False
        self._probe_at = now + PROBE_EVERY_S
        return True

    def probed(self, now: float) -> bool:
        """Note that it answered a probe; return whether its standing changed."""
        changed = self.standing.probed(self.load.in_flight, now)
        if changed:
            self._silence.alive()
        return changed

    def let_go(self) -> Any:
        """Take the link off, to be closed by the caller; a later pick makes another."""
        link, self.link = self.link, None
        self.link_state = LinkState.IDLE
        return link
