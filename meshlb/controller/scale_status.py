"""What GetScale, ListScales and WatchScale say of one service, and who is told."""

from __future__ import annotations

import asyncio

from meshlb import scale_state_wire, scale_wire
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.model import NodeState
from meshlb.policy import scale_record
from meshlb.policy.service_record import ServiceRecord
from meshlb.scale_model import Mode, Pause
from meshlb.v1 import scale_pb2
from meshlb.wire_time import duration

CALLED = (NodeState.ACTIVE, NodeState.UNKNOWN)


def status(
    scaling: ServiceScaling, record: ServiceRecord, unix_now: float
) -> scale_pb2.ScaleStatus:
    """Return the state of one service, whole."""
    policy, decision, sample = scaling.policy, scaling.decision, scaling.sample
    states = [state for state, _ in record.states.values()]
    message = scale_pb2.ScaleStatus(
        service=scaling.name,
        etag=scaling.etag,
        target_count=scaling.target,
        ready_count=sum(1 for state in states if state in CALLED),
        starting_count=0 if sample is None else sample.starting,
        draining_count=sum(1 for state in states if state is NodeState.DRAINING),
        mode=scale_wire.MODES[Mode.ACTIVE if policy is None else policy.mode],
        replicas=[
            scale_state_wire.replica_to_pb(replica, record.in_flight.get(replica.node_id))
            for replica in sorted(scaling.replicas, key=lambda r: r.replica_id)
        ],
        resources=[scale_state_wire.resources_to_pb(one) for one in scaling.resources],
        actuator=scaling.actuator,
        problem="; ".join(filter(None, (
            scaling.policy_problem, scaling.decide_problem, scaling.problem,
            scaling.forecast_problem))),
    )  # fmt: skip
    if decision is not None:
        message.min_count, message.max_count = decision.least, decision.most
        message.decision.CopyFrom(
            scale_state_wire.decision_to_pb(
                decision, scaling.live_id, scale_record.to_json(decision)
            )
        )
    elif policy is not None:
        message.min_count, message.max_count = policy.min, policy.max
    manual = scaling.manual(unix_now)
    if manual is not None:
        message.manual.CopyFrom(scale_wire.manual_to_pb(manual))
    if scaling.intent.pause != Pause():
        message.pause.CopyFrom(scale_wire.pause_to_pb(scaling.intent.pause))
    if scaling.start_up_s is not None:
        message.start_up_time.CopyFrom(duration(scaling.start_up_s))
    return message


def signature(scaling: ServiceScaling, record: ServiceRecord) -> object:
    """Return what a watcher is told anew of when it changes; figures that always move are not."""
    states = [state for state, _ in record.states.values()]
    return (
        scaling.etag,
        scaling.target,
        scaling.decision_id,
        scaling.problem,
        scaling.decide_problem,
        scaling.forecast_problem,
        sum(1 for state in states if state in CALLED),
        sum(1 for state in states if state is NodeState.DRAINING),
        None if scaling.sample is None else scaling.sample.starting,
        tuple((r.replica_id, r.node_id, r.state, r.reason) for r in scaling.replicas),
        tuple(scaling.resources),
    )


class ScaleWatcher:
    """One WatchScale stream: the newest state of each service that has not been sent, no queue."""

    def __init__(self, service: str) -> None:
        """``service``: the one watched; empty: all."""
        self.service = service
        self._newest: dict[str, scale_pb2.ScaleStatus] = {}
        self._filled = asyncio.Event()

    def put(self, message: scale_pb2.ScaleStatus) -> None:
        """Replace what is to be sent of a service."""
        self._newest[message.service] = message
        self._filled.set()

    async def take(self) -> list[scale_pb2.ScaleStatus]:
        """Wait until there is something, and return and clear it."""
        await self._filled.wait()
        self._filled.clear()
        taken, self._newest = list(self._newest.values()), {}
        return taken
