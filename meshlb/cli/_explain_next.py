"""What holds a target where it is, and when it may change next: read off a decision's record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meshlb.cli import _text, _times
from meshlb.v1 import scale_pb2

Record = Mapping[str, Any]


def holds(decision: scale_pb2.ScaleDecision, record: Record, columns: int) -> str:
    """Return the lines HELD and NEXT; nothing without a record."""
    if not record:
        return ""
    lines = [("HELD", _held(decision, record)), ("NEXT", _next(decision, record))]
    return "\n".join(
        _text.hang("  " if at else f"{name}  ", line, columns)
        for name, told in lines
        for at, line in enumerate(told)
    )


def _held(decision: scale_pb2.ScaleDecision, record: Record) -> list[str]:
    raw, target = record.get("raw", decision.target_count), decision.target_count
    up = [clamp.name for clamp in decision.clamps if clamp.after_count > clamp.before_count]
    down = [clamp.name for clamp in decision.clamps if clamp.after_count < clamp.before_count]
    if raw < target:
        if target <= record.get("least", -1):
            up = [*(name for name in up if name != "bounds"), f"the least of {record['least']}"]
        return [f"scale-in, by {_listed(up)}" if up else "scale-in"]
    if raw > target:
        return [f"scale-out, by {_listed(down)}" if down else "scale-out"]
    return ["nothing: the target is what the rules want"]


def _next(decision: scale_pb2.ScaleDecision, record: Record) -> list[str]:
    """Return what must happen for the target to change, one line each way."""
    inputs, policy = record.get("inputs") or {}, record.get("policy") or {}
    manual = inputs.get("manual") or {}
    if manual.get("count") is not None:
        if manual.get("expires_at") is not None:
            return [f"when the count set by hand ends, {_at(manual['expires_at'], inputs)}"]
        return [f"when the count set by hand ends: meshlb scale set {decision.service} --clear"]
    rise = f"rises {_rise(decision, record, policy)}"
    return [f"{rise}; {_fall(decision, record, inputs, policy)}"]


def _rise(decision: scale_pb2.ScaleDecision, record: Record, policy: Record) -> str:
    down = {clamp.name for clamp in decision.clamps if clamp.after_count < clamp.before_count}
    if _paused(record, "scale_out") or "pause" in down:
        return f"when resumed (meshlb scale resume {decision.service} out)"
    if decision.target_count >= record.get("most", decision.target_count + 1):
        return f"only if the most, {record['most']}, is raised"
    if "rate" in down and policy.get("rate_period_s"):
        return f"again within {_times.length(policy['rate_period_s'])}"
    if "window" in down and policy.get("scale_out_window_s"):
        return f"once so many were wanted for {_times.length(policy['scale_out_window_s'])}"
    return "as soon as a rule wants more"


def _fall(decision: scale_pb2.ScaleDecision, record: Record, inputs: Record, policy: Record) -> str:
    if _paused(record, "scale_in"):
        return f"falls when resumed (meshlb scale resume {decision.service} in)"
    if decision.target_count <= record.get("least", -1):
        return f"falls only if the least, {record['least']}, is lowered"
    up = [clamp.name for clamp in decision.clamps if clamp.after_count > clamp.before_count]
    told = [_ends(name, inputs, policy) for name in up]
    if told:
        return f"falls {' and '.join(dict.fromkeys(told))}"
    window_s = policy.get("scale_in_window_s")
    if window_s:
        return f"falls {_times.length(window_s)} after the last want of so many"
    return "falls as soon as no rule wants so many"


def _ends(name: str, inputs: Record, policy: Record) -> str:
    """Return when a step that holds scale-in lets go."""
    now = inputs.get("now", 0.0)
    if name == "window" and policy.get("scale_in_window_s"):
        at = _at(now + policy["scale_in_window_s"], inputs)
        return f"by {at} at the latest, if the load stays as it is"
    if name == "panic" and inputs.get("panic_since") is not None:
        ends = inputs["panic_since"] + policy.get("stable_window_s", 0.0)
        return f"after the panic, {_at(max(now, ends), inputs)} at the earliest"
    if name == "idle" and inputs.get("idle_s") is not None:
        ends = now + policy.get("idle_limit_s", 0.0) - inputs["idle_s"]
        return f"to none at {_at(ends, inputs)}, if nobody calls"
    if name == "rate" and policy.get("rate_period_s"):
        return f"further within {_times.length(policy['rate_period_s'])}"
    return {
        "consolidation": "when the load falls further",
        "tolerance": "when the load falls further",
        "missing": "once the missing signal is told again",
        "reported": "once 90 % of the known nodes report",
        "hold": "when that hold ends",
        "idle": "to none once nobody calls",
    }.get(name, f"when {name} lets it")


def _paused(record: Record, way: str) -> bool:
    return bool(((record.get("inputs") or {}).get("pause") or {}).get(way))


def _at(unix_s: float, inputs: Record) -> str:
    at = datetime.fromtimestamp(unix_s, UTC)
    return _times.clock(at, datetime.fromtimestamp(inputs.get("now", unix_s), UTC))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
