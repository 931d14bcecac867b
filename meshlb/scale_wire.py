"""Scaling's plain values and their messages, both ways; bad input is refused here.

``*_from_pb`` raise one InvalidInputError that names all faults, by the fields of ``scale.proto``.
Long because each message has its two directions side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from meshlb import params, scale_settings
from meshlb.checks import NAME
from meshlb.errors import InvalidInputError
from meshlb.scale_model import (
    Clamp,
    Decision,
    Manual,
    Mode,
    Pause,
    Replica,
    ReplicaState,
    Resources,
    RuleSpec,
    ScalePolicy,
    Verb,
    Vertical,
    Want,
)
from meshlb.v1 import scale_pb2
from meshlb.wire import duration, seconds

MOST_NODES = scale_settings.MOST_NODES
MOST_TIME_S = 253_402_300_799.0
"""Last second of the year 9999: what a Timestamp holds."""
MODES = {Mode.OBSERVE: scale_pb2.SCALE_MODE_OBSERVE, Mode.ACTIVE: scale_pb2.SCALE_MODE_ACTIVE}
VERTICALS = {
    Vertical.OFF: scale_pb2.VERTICAL_MODE_OFF,
    Vertical.RECOMMEND: scale_pb2.VERTICAL_MODE_RECOMMEND,
    Vertical.APPLY: scale_pb2.VERTICAL_MODE_APPLY,
}
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
MODES_BACK = {number: mode for mode, number in MODES.items()}
VERTICALS_BACK = {number: vertical for vertical, number in VERTICALS.items()}

# Fields of ScalePolicy: model name, message name; spans are Durations there.
_FIGURES = {
    "min": "min_count",
    "max": "max_count",
    "panic_threshold": "panic_threshold",
    "tolerance": "tolerance",
    "scale_out_step": "scale_out_step",
    "scale_in_step": "scale_in_step",
    "consolidation_limit": "consolidation_limit",
}
_SPANS = {
    "stable_window_s": "stable_window",
    "panic_window_s": "panic_window",
    "scale_in_window_s": "scale_in_window",
    "scale_out_window_s": "scale_out_window",
    "rate_period_s": "rate_period",
    "start_limit_s": "start_limit",
    "drain_limit_s": "drain_limit",
    "idle_limit_s": "idle_limit",
}


def timestamp(unix_s: float) -> Timestamp:
    """Return Unix seconds as a Timestamp, to the microsecond."""
    made = Timestamp()
    made.FromDatetime(datetime.fromtimestamp(unix_s, UTC))
    return made


def unix_seconds(message: Timestamp) -> float:
    """Return a Timestamp as Unix seconds."""
    return message.seconds + message.nanos / 1e9


def check_name(field: str, value: str) -> None:
    """Raise InvalidInputError unless a service's name is as it must be."""
    if not NAME.match(value):
        raise InvalidInputError(
            f"{field} = {value[:140]!r}: 1 to 128 characters of A-Z a-z 0-9 . _ -",
            reason="INVALID_SERVICE",
        )


def check_request_id(value: str) -> None:
    """Raise InvalidInputError unless a change is named as it must be."""
    if not 1 <= len(value) <= 128:
        raise InvalidInputError(
            f"request_id = {value[:140]!r}: 1 to 128 characters", reason="INVALID_REQUEST_ID"
        )


# --- policies --------------------------------------------------------------------------------


def policy_to_pb(policy: ScalePolicy) -> scale_pb2.ScalePolicy:
    """Return the message of a policy, every field told."""
    message = scale_pb2.ScalePolicy(
        service=policy.service,
        mode=MODES[policy.mode],
        vertical=VERTICALS[policy.vertical],
        rules=[rule_to_pb(rule) for rule in policy.rules],
        **{there: getattr(policy, here) for here, there in _FIGURES.items()},
    )
    for here, there in _SPANS.items():
        span_s = getattr(policy, here)
        if span_s is not None:
            getattr(message, there).CopyFrom(duration(span_s))
    return message


def rule_to_pb(rule: RuleSpec) -> scale_pb2.ScaleRule:
    """Return the message of one rule."""
    message = scale_pb2.ScaleRule(kind=rule.kind, name=rule.name)
    if rule.params:
        message.params.update(params.plain(rule.params))
    return message


def policy_from_pb(message: scale_pb2.ScalePolicy, at: str = "policy") -> ScalePolicy:
    """Return a policy, checked, with the defaults of what is absent."""
    check_name(f"{at}.service", message.service)
    raw: dict[str, Any] = {}
    for here, there in _FIGURES.items():
        if message.HasField(there):
            raw[here] = getattr(message, there)
    for here, there in _SPANS.items():
        if message.HasField(there):
            raw[here] = seconds(getattr(message, there))
    raw["mode"] = _choice(MODES_BACK, message.mode, Mode.ACTIVE)
    raw["vertical"] = _choice(VERTICALS_BACK, message.vertical, Vertical.RECOMMEND)
    if message.rules:
        raw["rules"] = [
            {
                "kind": rule.kind,
                "name": rule.name,
                "params": _params(rule.params),
            }
            for rule in message.rules
        ]
    return scale_settings.parse_policy(message.service, raw, at, {**_FIGURES, **_SPANS})


def _choice(back: Mapping[Any, Any], number: int, default: Any) -> Any:
    return default.value if number == 0 else back[number].value if number in back else number


def _params(struct: Any) -> Any:
    """Return a Struct as a table; if a number in it is none, a text, which no rule takes."""
    try:
        return _whole(json_format.MessageToDict(struct))
    except (ValueError, json_format.Error) as error:
        return str(error)


def _whole(value: Any) -> Any:
    """Return a value with its whole numbers as such: Struct has only floating ones."""
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


# --- manual scale and pauses -----------------------------------------------------------------


def manual_to_pb(manual: Manual) -> scale_pb2.ManualScale:
    """Return the message of what is set by hand."""
    message = scale_pb2.ManualScale(
        count=manual.count, min_count=manual.min, max_count=manual.max, reason=manual.reason
    )
    if manual.expires_at is not None:
        message.expire_time.CopyFrom(timestamp(manual.expires_at))
    return message


def manual_from_pb(message: scale_pb2.ManualScale, unix_now: float) -> Manual:
    """Return what is to be set by hand, checked; one that has expired already is refused."""
    faults = []
    figures: dict[str, int | None] = {}
    for field in ("count", "min_count", "max_count"):
        value = getattr(message, field) if message.HasField(field) else None
        figures[field] = value
        least = 1 if field == "max_count" else 0
        if value is not None and not least <= value <= MOST_NODES:
            faults.append(f"manual.{field} = {value}: from {least} to {MOST_NODES}")
    count, least_count, most_count = figures.values()
    if all(value is None for value in figures.values()):
        faults.append(
            "manual: a count, min_count or max_count; leave manual out to end what is set"
        )
    for low, high in (("min_count", "max_count"), ("count", "max_count"), ("min_count", "count")):
        below, above = figures[low], figures[high]
        if below is not None and above is not None and below > above:
            faults.append(f"manual.{low} = {below}: at most manual.{high}, {above}")
    expires_at = unix_seconds(message.expire_time) if message.HasField("expire_time") else None
    if expires_at is not None and not unix_now < expires_at <= MOST_TIME_S:
        faults.append(f"manual.expire_time = {_told(expires_at)}: after now, {_told(unix_now)}")
    if len(message.reason) > 1000:
        faults.append(f"manual.reason: {len(message.reason)} characters: at most 1000")
    if faults:
        raise InvalidInputError(faults, reason="INVALID_MANUAL_SCALE")
    return Manual(count, least_count, most_count, expires_at, message.reason)


def _told(unix_s: float) -> str:
    if not math.isfinite(unix_s) or not 0 <= unix_s <= MOST_TIME_S:
        return f"{unix_s:g} s"
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def pause_to_pb(pause: Pause) -> scale_pb2.ScalePause:
    """Return the message of what is paused."""
    return scale_pb2.ScalePause(
        scale_out=pause.scale_out, scale_in=pause.scale_in, reason=pause.reason
    )


def pause_from_pb(message: scale_pb2.ScalePause) -> Pause:
    """Return what is to be paused, checked; no direction means both."""
    if len(message.reason) > 1000:
        raise InvalidInputError(
            f"pause.reason: {len(message.reason)} characters: at most 1000", reason="INVALID_PAUSE"
        )
    both = not (message.scale_out or message.scale_in)
    return Pause(message.scale_out or both, message.scale_in or both, message.reason)


# --- what there is ---------------------------------------------------------------------------


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
