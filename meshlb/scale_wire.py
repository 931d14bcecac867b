"""What people ask of scaling, as Protobuf and as plain values; bad input is refused here.

``*_from_pb`` raise one InvalidInputError that names all faults, by the fields of ``scale.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from meshlb import params, scale_settings
from meshlb.checks import MOST_TIME_S, NAME
from meshlb.errors import InvalidInputError
from meshlb.scale_model import (
    Manual,
    Mode,
    Pause,
    RuleSpec,
    ScalePolicy,
    Vertical,
)
from meshlb.v1 import scale_pb2
from meshlb.wire_time import duration, seconds, timestamp

MOST_NODES = scale_settings.MOST_NODES
MODES = {Mode.OBSERVE: scale_pb2.SCALE_MODE_OBSERVE, Mode.ACTIVE: scale_pb2.SCALE_MODE_ACTIVE}
VERTICALS = {
    Vertical.OFF: scale_pb2.VERTICAL_MODE_OFF,
    Vertical.RECOMMEND: scale_pb2.VERTICAL_MODE_RECOMMEND,
    Vertical.APPLY: scale_pb2.VERTICAL_MODE_APPLY,
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
    expires_at = seconds(message.expire_time) if message.HasField("expire_time") else None
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
