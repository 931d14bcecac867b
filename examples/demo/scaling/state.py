"""What the act's screens show: all that is known of it at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.demo.options import Options
from examples.demo.scaling import meter
from examples.demo.scaling.profile import NODE_TARGET, Profile
from examples.demo.scaling.story import DRAINING, LOST, READY, STARTING, STOPPING, Node, Story
from examples.demo.tally import Ended, Figures, Tally, figures
from meshlb.policy.flapping import reversals

NONE_YET = figures([])


@dataclass(frozen=True, slots=True)
class Moment:
    """The fleet at one instant, for the chart."""

    at_s: float
    demand: float | None
    """Calls in flight and waiting, in nodes of ``NODE_TARGET`` calls; None: not known."""
    target: int
    ready: int
    starting: int
    draining: int


@dataclass
class Act:
    """One run of the scaling act."""

    options: Options
    profile: Profile
    planned: int
    """Calls in all."""
    tally: Tally = field(default_factory=Tally)
    sums: Figures = NONE_YET
    """Of the calls so far, brought up to date now and then."""
    calls_of: dict[str, int] = field(default_factory=dict)
    """Calls that ended, by replica_id."""
    story: Story = field(default_factory=Story)
    nodes: Sequence[Node] = ()
    target: int | None = None
    reason: str = ""
    """The decision's sentence now."""
    changed: tuple[float, str] | None = None
    """When the target last changed, and the sentence of then."""
    problem: str = ""
    in_flight: float | None = None
    targets: list[tuple[float, int]] = field(default_factory=list)
    replicas: list[tuple[float, int]] = field(default_factory=list)
    """All that run, from the order to the end."""
    reasons: list[tuple[float, int, str]] = field(default_factory=list)
    """Each change of the target during the act."""
    history: list[Moment] = field(default_factory=list)
    events: dict[str, tuple[float, str]] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    """Codes with their words."""
    elapsed_s: float = 0.0
    playing: bool = False
    over: bool = False

    def count(self, *states: str) -> int:
        """Return the nodes in these states."""
        return sum(node.state in states for node in self.nodes)

    def serves(self, node: Node) -> bool:
        """Return whether callers have reached a node: it has answered, or has calls now."""
        called = node.replica_id in self.calls_of or (node.in_flight or 0.0) >= 1.0
        return node.state == READY and called

    def tell(self, text: str) -> None:
        """Add an event."""
        self.events[str(len(self.events))] = (self.elapsed_s, text)

    def take(self, target: int | None, nodes: Sequence[Node], reason: str, problem: str) -> None:
        """Take in what the controller says now."""
        self.nodes, self.reason = nodes, reason
        if problem and problem != self.problem:
            self.tell(f"problem: {problem}")
        self.problem = problem
        told = self.story.take(nodes, self.elapsed_s)
        if target is not None and target != self.target:
            before, self.target = self.target, target
            self.changed = (self.elapsed_s, reason)
            if self.playing:
                self.reasons.append((self.elapsed_s, target, reason))
                self.tell(f"target {before} -> {target}")
        for event in told:
            self.tell(event.text)
        meter.add(self.targets, self.elapsed_s, self.target or 0)
        meter.add(self.replicas, self.elapsed_s, len(nodes) - self.count(LOST))

    def begin(self) -> None:
        """Forget what was before the first call."""
        self.playing = True
        self.events.clear()
        self.history.clear()
        now = [(0.0, self.replicas[-1][1])] if self.replicas else []
        self.replicas, self.targets = now, [(0.0, self.target or 0)]

    def killed(self, replica_id: str) -> None:
        """Say that the demo has killed a node."""
        self.tell(self.story.kill(replica_id).text)

    def end(self, call: Ended) -> None:
        """Take in what became of a call; tell of each way to fail once."""
        self.tally.add(call)
        way = f"{call.code}: {call.details}"
        if call.failed and way not in self.failures:
            self.failures.add(way)
            self.tell(f"a call failed: {way}")

    def sum_up(self) -> None:
        """Bring the sums up to date."""
        self.sums = self.tally.total()
        self.calls_of = {node: sums.calls for node, sums in self.tally.by_node().items()}

    def sample(self) -> None:
        """Keep this moment for the chart."""
        demand = None if self.in_flight is None else self.in_flight / NODE_TARGET
        self.history.append(
            Moment(
                self.elapsed_s,
                demand,
                self.target or 0,
                self.count(READY),
                self.count(STARTING),
                self.count(DRAINING, STOPPING),
            )
        )

    @property
    def settled(self) -> bool:
        """Whether just the least nodes are left."""
        return self.target == 1 and len(self.nodes) - self.count(LOST) == self.count(READY) == 1

    @property
    def most_nodes(self) -> int:
        """Greatest count that ran at once."""
        return max((count for _, count in self.replicas), default=0)

    @property
    def node_seconds(self) -> float:
        """What has run, over the time so far in which calls began."""
        return meter.total(self.replicas, 0.0, min(self.elapsed_s, self.profile.load_s))

    @property
    def static_nodes(self) -> int | None:
        """Nodes that the peak needs: what the target mostly was there. None: no peak yet."""
        peaks = [(p.since_s, min(p.until_s, self.elapsed_s)) for p in self.profile.peaks]
        return meter.typical(self.targets, peaks)

    @property
    def static_node_seconds(self) -> float | None:
        """What a fleet of so many would have run, over the same time."""
        if self.static_nodes is None:
            return None
        return self.static_nodes * min(self.elapsed_s, self.profile.load_s)

    @property
    def saving(self) -> float | None:
        """Part of the static fleet's node-seconds that was not needed."""
        static = self.static_node_seconds
        return None if not static else 1.0 - self.node_seconds / static

    @property
    def reversals(self) -> int:
        """Times that the target turned round, the load's own turns included."""
        return reversals(self.targets)

    def as_json(self) -> dict[str, Any]:
        """Return the figures under the names that docs/demo.md tells."""
        static = self.static_node_seconds
        return {
            **self.tally.total().as_json(),
            "node_seconds": round(self.node_seconds, 1),
            "static_nodes": self.static_nodes,
            "static_node_seconds": None if static is None else round(static, 1),
            "saving": None if self.saving is None else round(self.saving, 3),
            "peak_nodes": self.most_nodes,
            "decisions": len(self.reasons),
            "reversals": self.reversals,
            "load_reversals": self.profile.turns,
            "events": dict(self.story.counts),
            "targets": [
                {"at_s": round(at_s, 1), "target": target, "reason": reason}
                for at_s, target, reason in self.reasons
            ],
            "seconds": self.options.seconds,
            "seed": self.options.seed,
        }
