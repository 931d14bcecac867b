"""What scaling tells of replicas, sizes and decisions, as messages."""

from __future__ import annotations

from collections.abc import Sequence

from meshlb.scale_model import Clamp, Decision, Replica, ReplicaState, Resources, Verb, Want
from meshlb.scale_wire import MODES
from meshlb.v1 import scale_pb2
from meshlb.wire_time import timestamp

VERBS = {
    Verb.SET: scale_pb2.SCALE_VERB_SET,
    Verb.AT_LEAST: scale_pb2.SCALE_VERB_AT_LEAST,
    Verb.AT_MOST: scale_pb2.SCALE_VERB_AT_MOST,
    Verb.REJECT: scale_pb2.SCALE_VERB_REJECT,
}
REPLICA_STATES = {
    ReplicaState.STARTING: scale_pb2.REPLICA_STATE_STARTING,
    ReplicaState.READY: scale_pb2.REPLICA_STATE_READY,
    ReplicaState.DRAINING: scale_pb2.REPLICA_STATE_DRAINING,
    ReplicaState.STOPPING: scale_pb2.REPLICA_STATE_STOPPING,
    ReplicaState.LOST: scale_pb2.REPLICA_STATE_LOST,
}


def replica_to_pb(replica: Replica, in_flight: float | None) -> scale_pb2.Replica:
    """Return the message of a replica; ``in_flight``: calls at its node, None: not known."""
    return scale_pb2.Replica(
        replica_id=replica.replica_id,
        node_id=replica.node_id,
        state=REPLICA_STATES[replica.state],
        reason=replica.reason,
        state_time=timestamp(replica.since),
        in_flight_count=in_flight,
    )


def resources_to_pb(resources: Resources) -> scale_pb2.Resources:
    """Return the message of what a node should have."""
    return scale_pb2.Resources(
        node_id=resources.node_id,
        slot_count=resources.slots,
        cpu_cores=resources.cpu_cores,
        memory_bytes=resources.memory_bytes,
        current_slot_count=resources.current_slots,
        current_cpu_cores=resources.current_cpu_cores,
        reason=resources.reason,
        applied=resources.applied,
    )


def wants_to_pb(wants: Sequence[Want]) -> list[scale_pb2.RuleWant]:
    """Return the messages of what rules wanted."""
    return [
        scale_pb2.RuleWant(
            rule=want.rule,
            verb=scale_pb2.SCALE_VERB_UNSPECIFIED if want.verb is None else VERBS[want.verb],
            count=want.count,
            reason=want.reason,
        )
        for want in wants
    ]


def clamps_to_pb(clamps: Sequence[Clamp]) -> list[scale_pb2.ScaleClamp]:
    """Return the messages of the steps from wants to target."""
    return [
        scale_pb2.ScaleClamp(
            name=clamp.name,
            before_count=clamp.before,
            after_count=clamp.after,
            reason=clamp.reason,
        )
        for clamp in clamps
    ]


def decision_to_pb(
    decision: Decision, decision_id: int, record_json: str
) -> scale_pb2.ScaleDecision:
    """Return the message of a decision; ``record_json`` is its whole record."""
    return scale_pb2.ScaleDecision(
        decision_id=decision_id,
        service=decision.service,
        decide_time=timestamp(decision.inputs.now),
        mode=MODES[decision.policy.mode],
        target_count=decision.target,
        previous_count=decision.inputs.previous,
        reason=decision.reason,
        wants=wants_to_pb(decision.wants),
        clamps=clamps_to_pb(decision.clamps),
        record_json=record_json,
    )
