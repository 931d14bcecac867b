"""What happens to the nodes, told from what the controller says of them one time and the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STARTING, READY, DRAINING = "starting", "ready", "draining"
STOPPING, LOST = "stopping", "lost"


@dataclass(frozen=True, slots=True)
class Node:
    """One replica as the controller tells it."""

    replica_id: str
    state: str
    reason: str = ""
    in_flight: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    kind: str
    """``ordered``, ``ready``, ``killed``, ``lost``, ``replaced``, ``withdrawn``, ``restored``,
    ``drained``, ``stopped``, ``called off``."""
    text: str


class Story:
    """Names the nodes in the order in which they come, and tells what becomes of each."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        """By replica_id."""
        self.counts: dict[str, int] = {}
        """Events by kind."""
        self._states: dict[str, str] = {}
        self._begun: dict[str, float] = {}
        self._killed: set[str] = set()
        self._owed: list[str] = []
        """Names of lost nodes in whose place none has been ordered yet."""
        self._places: dict[str, str] = {}

    def kill(self, replica_id: str) -> Event:
        """Say that the demo kills a node."""
        self._killed.add(replica_id)
        return self._event("killed", f"{self._name(replica_id)} killed (SIGKILL)")

    def was_killed(self, replica_id: str) -> bool:
        """Return whether the demo has killed it."""
        return replica_id in self._killed

    def take(self, nodes: Sequence[Node], at_s: float) -> list[Event]:
        """Return what is new."""
        found: list[Event] = []
        before, self._states = self._states, {node.replica_id: node.state for node in nodes}
        for node in sorted(nodes, key=lambda one: one.state != LOST):
            was = before.get(node.replica_id)
            if was != node.state:
                found += self._turn(node, was, at_s)
        for replica_id, was in before.items():
            if replica_id not in self._states:
                found += self._gone(replica_id, was)
        return found

    def _turn(self, node: Node, was: str | None, at_s: float) -> Iterator[Event]:
        name = self._name(node.replica_id)
        if node.state == LOST:
            self._owed.append(name)
            if node.replica_id not in self._killed:
                yield self._event("lost", f"{name} lost: {node.reason}")
        elif was is None and node.state in (STARTING, READY):
            self._begun[node.replica_id] = at_s
            place = ""
            if self._owed:
                place = self._places[node.replica_id] = self._owed.pop(0)
            yield self._event("ordered", f"{name} ordered" + (f" for {place}" if place else ""))
        if node.state == READY and was == DRAINING:
            yield self._event("restored", f"{name} takes calls again")
        elif node.state == READY:
            took = at_s - self._begun.get(node.replica_id, at_s)
            after = f" after {took:.1f} s" if was == STARTING else ""
            yield self._event("ready", f"{name} ready{after}")
            if place := self._places.pop(node.replica_id, ""):
                yield self._event("replaced", f"{place} replaced by {name}")
        elif node.state == DRAINING:
            calls = "" if node.in_flight is None else f", {node.in_flight:.0f} in flight"
            yield self._event("withdrawn", f"{name} withdrawn{calls}")
        elif node.state == STOPPING and was == DRAINING:
            yield self._event("drained", f"{name} drained, is stopped")
        elif node.state == STOPPING and was == STARTING:
            yield self._event("called off", f"{name} called off before it was ready")

    def _gone(self, replica_id: str, was: str) -> Iterator[Event]:
        name = self._name(replica_id)
        if was == DRAINING:
            yield self._event("drained", f"{name} drained")
        if was != LOST:
            yield self._event("stopped", f"{name} stopped")

    def _name(self, replica_id: str) -> str:
        return self.names.setdefault(replica_id, f"node-{len(self.names) + 1}")

    def _event(self, kind: str, text: str) -> Event:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return Event(kind, text)
