"""A service's scaling state as text: the list of all, and one in full."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from meshlb.cli import _ask, _text, _times
from meshlb.v1 import scale_pb2
from meshlb.wire_time import seconds

_CHANGE = re.compile(r"(stays \d+|\d+ -> \d+): ")


def all_of(scales: list[scale_pb2.ScaleStatus]) -> str:
    """Return a table with one line a service; what says nothing of any of them is left out."""
    columns: dict[str, list[str]] = {
        "SERVICE": [one.service for one in scales],
        "TARGET": [target(one) for one in scales],
        "READY": [str(one.ready_count) for one in scales],
    }
    if any(one.starting_count for one in scales):
        columns["STARTING"] = [str(one.starting_count) for one in scales]
    if any(one.draining_count for one in scales):
        columns["DRAINING"] = [str(one.draining_count) for one in scales]
    columns["BOUNDS"] = [f"{one.min_count}..{one.max_count}" for one in scales]
    if any(mode(one.mode) != "active" for one in scales):
        columns["MODE"] = [mode(one.mode) for one in scales]
    if any(held(one) != "-" for one in scales):
        columns["PAUSED"] = [held(one) for one in scales]
    columns["WHY"] = [one.problem or why(one.decision) for one in scales]
    rows = list(zip(*columns.values(), strict=True))
    return _ask.table(tuple(columns), rows, _text.cut())


def full(one: scale_pb2.ScaleStatus, now: datetime) -> str:
    """Return all that is known of one service's scaling."""
    columns = _text.width()
    lines = [_text.bold(f"{one.service}: {headline(one)}")]
    if one.decision.reason:
        lines.append(_text.hang("  ", why(one.decision), columns))
    if one.problem:
        lines.append(_text.hang("  problem   ", one.problem, columns))
    lines += [f"  {line}" for line in by_hand(one, now)]
    start_up = (
        f", starts one in {_times.length(seconds(one.start_up_time))}"
        if one.HasField("start_up_time")
        else ""
    )
    lines.append(f"  bounds    {one.min_count} to {one.max_count}, {mode(one.mode)}")
    lines.append(f"  actuator  {one.actuator or 'none: the target is only published'}{start_up}")
    lines.append(f"  etag      {one.etag}")
    if one.replicas:
        lines += ["", _replicas(one, now)]
    if one.resources:
        lines += ["", _resources(one)]
    return "\n".join(lines)


def headline(one: scale_pb2.ScaleStatus) -> str:
    """Return the counts in words."""
    wanted = "no target"
    if one.HasField("target_count"):
        observed = one.mode == scale_pb2.SCALE_MODE_OBSERVE
        wanted = f"{count(one.target_count)} {'would be wanted' if observed else 'wanted'}"
    parts = [f"{one.ready_count} ready"]
    if one.starting_count:
        parts.append(f"{one.starting_count} starting")
    if one.draining_count:
        parts.append(f"{one.draining_count} draining")
    return f"{wanted}, {', '.join(parts)}"


def by_hand(one: scale_pb2.ScaleStatus, now: datetime) -> list[str]:
    """Return lines about what is set or paused by hand; none if nothing is."""
    lines = []
    if one.HasField("manual"):
        lines.append(f"by hand   {manual(one.manual, now)}")
    if held(one) != "-":
        why = f": {one.pause.reason}" if one.pause.reason else ""
        lines.append(f"paused    {held(one)}{why}")
    return lines


def manual(set_by_hand: scale_pb2.ManualScale, now: datetime) -> str:
    """Return what is set by hand, in words."""
    parts = []
    if set_by_hand.HasField("count"):
        parts.append(count(set_by_hand.count))
    if set_by_hand.HasField("min_count"):
        parts.append(f"at least {set_by_hand.min_count}")
    if set_by_hand.HasField("max_count"):
        parts.append(f"at most {set_by_hand.max_count}")
    ends = "until cleared"
    if set_by_hand.HasField("expire_time"):
        ends = f"until {_times.clock(_times.local(set_by_hand.expire_time), now)}"
    why = f": {set_by_hand.reason}" if set_by_hand.reason else ""
    return f"{', '.join(parts) or 'nothing'}, {ends}{why}"


def why(decision: scale_pb2.ScaleDecision | scale_pb2.ScalePreviewPoint) -> str:
    """Return a reason without the counts that it begins with."""
    return _CHANGE.sub("", decision.reason, count=1)


def count(nodes: int) -> str:
    """Return "1 node", "6 nodes"."""
    return f"{nodes} node" if nodes == 1 else f"{nodes} nodes"


def target(one: scale_pb2.ScaleStatus) -> str:
    """Return the target, or a dash."""
    return str(one.target_count) if one.HasField("target_count") else "-"


def mode(value: scale_pb2.ScaleMode) -> str:
    """Return "active" or "observe"."""
    name = scale_pb2.ScaleMode.Name(value).removeprefix("SCALE_MODE_").lower()
    return "active" if name == "unspecified" else name


def held(one: scale_pb2.ScaleStatus) -> str:
    """Return which directions are paused: "out", "in", "out, in", or a dash."""
    ways = [name for name, on in (("out", one.pause.scale_out), ("in", one.pause.scale_in)) if on]
    return ", ".join(ways) or "-"


def _replicas(one: scale_pb2.ScaleStatus, now: datetime) -> str:
    rows = [
        (
            replica.replica_id,
            replica.node_id or "-",
            scale_pb2.ReplicaState.Name(replica.state).removeprefix("REPLICA_STATE_").lower(),
            _figure(replica, "in_flight_count", "{:.0f}"),
            _times.length(max(0.0, (now - replica.state_time.ToDatetime(UTC)).total_seconds()))
            if replica.HasField("state_time")
            else "-",
            replica.reason,
        )
        for replica in one.replicas
    ]
    head = ("REPLICA", "NODE", "STATE", "IN FLIGHT", "FOR", "WHY")
    return _ask.table(head, rows, _text.cut())


def _resources(one: scale_pb2.ScaleStatus) -> str:
    rows = []
    for size in one.resources:
        memory = f"{size.memory_bytes / 2**30:.1f} GiB" if size.HasField("memory_bytes") else "-"
        slots = _figure(size, "current_slot_count", "{}"), _figure(size, "slot_count", "{}")
        cores = _figure(size, "current_cpu_cores", "{:.1f}"), _figure(size, "cpu_cores", "{:.1f}")
        rows.append(
            (
                size.node_id or "a new node", _better(*slots), _better(*cores), memory,
                "yes" if size.applied else "no", size.reason,
            )
        )  # fmt: skip
    head = ("SIZE OF", "SLOTS", "CORES", "MEMORY", "APPLIED", "WHY")
    return _ask.table(head, rows, _text.cut())


def _better(now: str, wanted: str) -> str:
    return now if wanted in (now, "-") else f"{now} -> {wanted}"


def _figure(message: scale_pb2.Replica | scale_pb2.Resources, field: str, form: str) -> str:
    return form.format(getattr(message, field)) if message.HasField(field) else "-"
