"""From a target and the replicas that there are to what to start, withdraw, restore and stop.

Stateless: what is under way is seen in the replicas and nodes. A node goes in two steps: it is
withdrawn, so that it gets no new calls, and stopped once drained. If more are wanted meanwhile, it
is restored, which is faster than any start. One that still starts goes in two steps as well: its
node may join, and be called, before the stop gets there. What was lost is replaced at once; after
repeated losses each start waits longer, so that a server that cannot run is not started for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshlb.scale_model import Replica, ReplicaState, ScalePolicy

LOSSES_WITHIN_S = 600.0
BACKOFF_S = 1.0
BACKOFF_MOST_S = 60.0


class Capabilities(Protocol):
    """What of an actuator's capabilities a plan goes by."""

    @property
    def starts(self) -> bool:
        """Whether it starts and stops replicas."""

    @property
    def chooses_victim(self) -> bool:
        """Whether it stops the very replica that it is told to."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the controller knows it."""

    in_flight: float
    since: float
    """When it joined; Unix seconds."""
    withdrawn_since: float | None = None
    """None: it takes calls."""
    by_operator: bool = False
    """Withdrawn by hand: not restored by itself."""
    drained: bool = False
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now; empty if all is as it should be."""

    start: int = 0
    withdraw: tuple[str, ...] = ()
    """Nodes, by node_id."""
    restore: tuple[str, ...] = ()
    """Withdrawn nodes that are to take calls again, by node_id."""
    stop: tuple[str, ...] = ()
    """Replicas, by replica_id."""
    problem: str = ""
    """What keeps the target from being reached; empty: nothing."""
    reasons: tuple[str, ...] = ()
    """One line each step."""


@dataclass(slots=True)
class _Fleet:
    """Replicas by what they are to the target."""

    ready: list[Replica] = field(default_factory=list)
    starting: list[Replica] = field(default_factory=list)
    stuck: list[Replica] = field(default_factory=list)
    """Starting for too long, and without a node: no capacity any more."""
    going: list[Replica] = field(default_factory=list)
    lost: list[Replica] = field(default_factory=list)
    foreign: int = 0
    """Nodes that take calls and that the actuator did not start."""

    @property
    def have(self) -> int:
        return len(self.ready) + len(self.starting) + self.foreign


class _Steps:
    def __init__(self) -> None:
        self.withdraw: list[str] = []
        self.restore: list[str] = []
        self.stop: list[str] = []
        self.reasons: list[str] = []
        self.problem = ""


def plan(
    target: int,
    replicas: Sequence[Replica],
    nodes: Mapping[str, NodeView],
    capabilities: Capabilities,
    now: float,
    policy: ScalePolicy,
) -> Plan:
    """Return the steps from the replicas that there are to ``target``; ``now`` is Unix seconds."""
    if not capabilities.starts:
        return Plan()
    fleet = _sorted(replicas, nodes, now, policy)
    steps = _Steps()
    for replica in fleet.stuck:
        steps.stop.append(replica.replica_id)
        steps.problem = f"{replica.replica_id} is not healthy after {policy.start_limit_s:g} s"
        steps.reasons.append(f"stop {replica.replica_id}: {steps.problem}")
    surplus = fleet.have - target
    start = 0
    if surplus > 0 and capabilities.chooses_victim:
        _take_away(surplus, fleet, nodes, steps)
    elif surplus < 0:
        start = _add(-surplus, fleet, nodes, now, steps)
    if capabilities.chooses_victim:
        _stop_drained(fleet, nodes, now, policy, steps)
    return Plan(
        start=start,
        withdraw=tuple(steps.withdraw),
        restore=tuple(steps.restore),
        stop=tuple(steps.stop),
        problem=steps.problem,
        reasons=tuple(steps.reasons),
    )


def _sorted(
    replicas: Sequence[Replica], nodes: Mapping[str, NodeView], now: float, policy: ScalePolicy
) -> _Fleet:
    fleet = _Fleet()
    for replica in replicas:
        node = nodes.get(replica.node_id)
        if replica.state is ReplicaState.LOST:
            if now - replica.since <= LOSSES_WITHIN_S:
                fleet.lost.append(replica)
        elif node is not None and node.withdrawn_since is not None:
            if replica.state is not ReplicaState.STOPPING:
                fleet.going.append(replica)
        elif replica.state is ReplicaState.STARTING:
            late = now - replica.since > policy.start_limit_s and node is None
            (fleet.stuck if late else fleet.starting).append(replica)
        elif replica.state is ReplicaState.READY:
            fleet.ready.append(replica)
        elif replica.state is not ReplicaState.STOPPING:
            fleet.going.append(replica)
    ours = {replica.node_id for replica in replicas}
    fleet.foreign = sum(
        1 for node_id, n in nodes.items() if node_id not in ours and n.withdrawn_since is None
    )
    return fleet


def _take_away(surplus: int, fleet: _Fleet, nodes: Mapping[str, NodeView], steps: _Steps) -> None:
    """Choose starting ones, newest first; then the least in flight, newest among equals."""
    for replica in sorted(fleet.starting, key=lambda r: (-r.since, r.replica_id))[:surplus]:
        if replica.node_id:
            steps.withdraw.append(replica.node_id)
            steps.reasons.append(f"withdraw {replica.node_id}: it still starts, and is not needed")
        else:
            steps.stop.append(replica.replica_id)
            steps.reasons.append(f"stop {replica.replica_id}: it still starts, and is not needed")
        surplus -= 1
    known = [r for r in fleet.ready if r.node_id in nodes]

    def cost(replica: Replica) -> tuple[float, float, str]:
        node = nodes[replica.node_id]
        return node.in_flight, -node.since, replica.replica_id

    for replica in sorted(known, key=cost)[:surplus]:
        steps.withdraw.append(replica.node_id)
        steps.reasons.append(
            f"withdraw {replica.node_id}: {nodes[replica.node_id].in_flight:.3g} in flight, "
            "least of all"
        )


def _add(
    deficit: int, fleet: _Fleet, nodes: Mapping[str, NodeView], now: float, steps: _Steps
) -> int:
    """Restore what drains, the busiest first, and return how many more are to be started."""
    able = [
        r.node_id
        for r in fleet.going
        if r.node_id in nodes
        and nodes[r.node_id].withdrawn_since is not None
        and not nodes[r.node_id].by_operator
    ]
    for node_id in sorted(able, key=lambda n: (-nodes[n].in_flight, n))[:deficit]:
        steps.restore.append(node_id)
        steps.reasons.append(f"restore {node_id}: wanted again before it was drained")
        deficit -= 1
    if deficit == 0:
        return 0
    wait_s = _backoff(fleet.lost, now)
    if wait_s > 0:
        steps.problem = (
            f"{len(fleet.lost)} replicas were lost within {LOSSES_WITHIN_S / 60:.0f} min: "
            f"next start in {wait_s:.0f} s"
        )
        return 0
    steps.reasons.append(f"start {deficit}: {fleet.have} of {fleet.have + deficit} are there")
    return deficit


def _backoff(lost: Sequence[Replica], now: float) -> float:
    """Return the seconds until the next start: none after one loss, doubling after more."""
    if len(lost) < 2:
        return 0.0
    delay_s = min(BACKOFF_MOST_S, BACKOFF_S * 2.0 ** min(len(lost) - 2, 10))
    return max(r.since for r in lost) + delay_s - now


def _stop_drained(
    fleet: _Fleet,
    nodes: Mapping[str, NodeView],
    now: float,
    policy: ScalePolicy,
    steps: _Steps,
) -> None:
    for replica in fleet.going:
        node = nodes.get(replica.node_id)
        if node is None:
            why = "its node is gone"
        elif node.withdrawn_since is None or node.by_operator or replica.node_id in steps.restore:
            continue
        elif node.drained:
            why = "drained"
        elif (
            policy.drain_limit_s is not None and now - node.withdrawn_since >= policy.drain_limit_s
        ):
            why = f"drain limit of {policy.drain_limit_s:g} s; waited for {node.waiting_for}"
        else:
            continue
        steps.stop.append(replica.replica_id)
        steps.reasons.append(f"stop {replica.replica_id}: {why}")
