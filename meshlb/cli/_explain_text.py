"""A decision as text of 80 columns; looks at nothing but its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from meshlb import scale_model
from meshlb.cli import _ask, _explain_next, _scale_text, _text, _times
from meshlb.v1 import scale_pb2

SHOWN = ("in_flight", "queued", "rate")
_VERBS = {"set": "", "at_least": ">= ", "at_most": "<= "}


def explain(
    decision: scale_pb2.ScaleDecision,
    record: Mapping[str, Any],
    *,
    change: scale_pb2.ScaleDecision | None,
    scale: scale_pb2.ScaleStatus | None,
    at: datetime,
    columns: int,
) -> str:
    """Return what a person on call wants to know of a decision.

    ``change`` is the decision that last changed the target, ``scale`` the state now (None: the
    decision is of the past), ``at`` the time that was asked for.
    """
    inputs = record.get("inputs") or {}
    parts = [
        _head(decision, change, at, columns, live=scale is not None),
        _now(scale, record, at, columns),
        _load(record, inputs),
        _nodes(scale, inputs),
        _rules(decision, record, columns),
        _steps(decision, columns),
        _explain_next.holds(decision, record, columns),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(
    decision: scale_pb2.ScaleDecision,
    change: scale_pb2.ScaleDecision | None,
    at: datetime,
    columns: int,
    *,
    live: bool,
) -> str:
    decided = _times.local(decision.decide_time)
    if change is None:
        since, before = decided, decision.previous_count
    else:
        since, before = _times.local(change.decide_time), change.previous_count
    age = _times.length(max(0.0, (at - since).total_seconds()))
    wanted = "wanted"
    if decision.mode == scale_pb2.SCALE_MODE_OBSERVE:
        wanted = "would be wanted (observe only)"
    told = f"{decision.service}: {_scale_text.count(decision.target_count)} {wanted}"
    told += f" since {_times.clock(since, at)}, for {age}"
    if before != decision.target_count:
        told += f"; {before} before"
    lines = [told]
    lines.append(_text.hang("  ", _scale_text.why(decision), columns))
    name = "" if live else f", decision {decision.decision_id}"
    lines.append(f"  as of {_times.clock(decided, at)}{name}")
    return "\n".join(lines)


def _now(
    scale: scale_pb2.ScaleStatus | None, record: Mapping[str, Any], at: datetime, columns: int
) -> str:
    """Return what is out of the ordinary: panic, a problem, what is set or paused by hand."""
    lines = []
    if record.get("panic"):
        window_s = (record.get("policy") or {}).get("panic_window_s")
        seen = f"the last {window_s:g} s count" if window_s else "the last seconds count"
        lines.append(_text.hang("PANIC     ", f"{seen}, and nothing is taken away", columns))
    if scale is not None and scale.problem:
        lines.append(_text.hang("PROBLEM   ", scale.problem, columns))
    for line in [] if scale is None else _scale_text.by_hand(scale, at):
        word, _, rest = line.partition("   ")
        lines.append(_text.hang(word.upper().ljust(10), rest.strip(), columns))
    return "\n".join(lines)


def _load(record: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    signals: Mapping[str, Mapping[str, Any]] = inputs.get("signals") or {}
    policy = record.get("policy") or {}
    used = set(_words(policy.get("rules")))
    rows = []
    for name, seen in signals.items():
        told = [seen.get(key) for key in ("last", "panic", "stable")]
        wanted = name in SHOWN or name in used or seen.get("missing")
        if not wanted or (name == "queued" and name not in used and not any(told)):
            continue
        missing = seen.get("missing") or 0
        nodes = (seen.get("measured") or 0) + missing
        if name in scale_model.BOUNDED:  # totals are sums over nodes; people think of the mean
            told = [None if one is None or not nodes else one / nodes for one in told]
        silent = f"{missing} silent" if missing else ""
        rows.append(
            (
                "  " + name.replace("_", " "),
                *(_figure(name, one) for one in told),
                _figure(name, seen.get("mean")) if name in scale_model.ADDITIVE else "",
                silent,
            )
        )
    if not rows:
        return ""
    head = (
        "LOAD".ljust(18), "now".rjust(10),
        _mean(policy.get("panic_window_s"), "fast").rjust(10),
        _mean(policy.get("stable_window_s"), "calm").rjust(10), "a node".rjust(10), "",
    )  # fmt: skip
    return _ask.table(head, rows)


def _words(value: Any) -> Iterator[str]:
    """Yield every text in the rules; a signal that one names is shown."""
    if isinstance(value, str):
        yield value
        yield {"latency": "response_time"}.get(value, value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _words(one)


def _mean(window_s: Any, otherwise: str) -> str:
    return f"{window_s:g} s mean" if isinstance(window_s, (int, float)) else otherwise


def _figure(signal: str, value: float | None) -> str:
    if value is None:
        return "-"
    if signal in scale_model.BOUNDED:
        return f"{value:.0%}"
    if signal in scale_model.LATENCIES:
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
    if signal == "rate":
        return f"{value:,.1f} /s"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _nodes(scale: scale_pb2.ScaleStatus | None, inputs: Mapping[str, Any]) -> str:
    if scale is not None:
        counts = (scale.ready_count, scale.starting_count, scale.draining_count)
    elif inputs:
        counts = tuple(inputs.get(key) or 0 for key in ("ready", "starting", "draining"))  # type: ignore[assignment]
    else:
        return ""
    told = f"NODES  {counts[0]} ready, {counts[1]} starting, {counts[2]} draining"
    if inputs.get("start_up_s"):
        told += f"; one takes {_times.length(inputs['start_up_s'])} to start"
    return told


def _rules(decision: scale_pb2.ScaleDecision, record: Mapping[str, Any], columns: int) -> str:
    said = {want.rule for want in decision.wants}
    silent = [name for name in _names(record.get("policy") or {}) if name not in said]
    if not said and not silent:
        return ""
    named = max(10, *map(len, [*said, *silent]))
    lines = [f"{'RULES'.ljust(named + 2)}   wants  why"]
    for want in decision.wants:
        verb = scale_pb2.ScaleVerb.Name(want.verb).removeprefix("SCALE_VERB_").lower()
        wanted = _VERBS.get(verb, "") + str(want.count) if want.HasField("count") else "-"
        if verb == "reject":
            wanted = "no change"
        before = f"  {want.rule.ljust(named)}{wanted.rjust(8)}  "
        lines.append(_text.hang(before, want.reason, columns))
    lines += [f"  {name.ljust(named)}{'-'.rjust(8)}  says nothing now" for name in silent]
    return "\n".join(lines)


def _names(policy: Mapping[str, Any]) -> list[str]:
    """Return what a policy's rules are called in a decision."""
    rules = [one for one in policy.get("rules") or () if isinstance(one, Mapping)]
    return [str(one.get("name") or one.get("kind", "")) for one in rules]


def _steps(decision: scale_pb2.ScaleDecision, columns: int) -> str:
    if not decision.clamps:
        return ""
    named = max(10, *(len(clamp.name) for clamp in decision.clamps))
    changes = [f"{c.before_count} -> {c.after_count}" for c in decision.clamps]
    wide = max(8, *map(len, changes))
    lines = [f"{'STEPS'.ljust(named + 2)}{'nodes'.rjust(wide)}  why"]
    for clamp, change in zip(decision.clamps, changes, strict=True):
        before = f"  {clamp.name.ljust(named)}{change.rjust(wide)}  "
        lines.append(_text.hang(before, clamp.reason, columns))
    return "\n".join(lines)
