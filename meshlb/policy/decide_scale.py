"""From a policy and its inputs to a target with all its reasons; the same ones give the same again.

Rules are asked over the stable window. They are asked over the panic window too: if that wants
``panic_threshold`` times the ready nodes, the greater of both counts until a stable window has
passed below, and nothing is taken away meanwhile.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from meshlb.policy.scale_clamps import Bounds, clamp
from meshlb.policy.scale_merge import Merged, ask, merge
from meshlb.scale_model import Clamp, Decision, Inputs, Observed, ScalePolicy, Verb

LEAST_SURGE = 2
"""Nodes that a panic wants more at the least: twice one node is too easily noise."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, and what is to be remembered of it besides."""

    decision: Decision
    surge: bool
    """Whether the panic window is above its threshold now."""
    wanted: int
    """What the windows remember as wanted: the merged count, or what the bounds let through of a
    count set by hand, since nobody ever had more nodes of that."""


def decide(policy: ScalePolicy, inputs: Inputs) -> Decision:
    """Return the target. Raises InvalidInputError for a rule of unknown kind."""
    return judge(policy, inputs).decision


def judge(policy: ScalePolicy, inputs: Inputs) -> Judged:
    """Decide, for one who remembers when the last surge was."""
    asked = ask(policy, inputs)
    merged = merge(asked, policy, inputs)
    surge = panic = False
    if not merged.overridden:
        urgent = hurried(inputs)
        urgent_asked = ask(policy, urgent)
        urgent_merged = merge(urgent_asked, policy, urgent)
        least = max(policy.panic_threshold * max(1, inputs.ready), inputs.ready + LEAST_SURGE)
        surge = urgent_merged.count >= least
        if surge and inputs.start_up_s is not None:
            # reserve for what may come while a node starts is no surge: the load alone has to be
            bare = dataclasses.replace(urgent, start_up_s=None)
            surge = merge(ask(policy, bare), policy, bare).count >= least
        panic = surge or inputs.panic_since is not None
        if panic and urgent_merged.count > merged.count:
            asked, merged = urgent_asked, urgent_merged
    bounds = Bounds(policy, inputs, asked)
    target, clamps = clamp(policy, inputs, merged, asked, bounds, panic)
    decision = Decision(
        service=policy.service,
        target=target,
        reason=_reason(inputs, merged, clamps, target, panic),
        wants=tuple(one.want for one in asked),
        clamps=clamps,
        raw=merged.count,
        least=bounds.least,
        most=bounds.most,
        panic=panic,
        inputs=inputs,
        policy=policy,
    )
    return Judged(decision, surge, target if merged.overridden else merged.count)


def hurried(inputs: Inputs) -> Inputs:
    """Return the inputs with the panic window in the place of the stable one, and no trends."""
    signals = {name: _hurried(seen) for name, seen in inputs.signals.items()}
    return dataclasses.replace(inputs, signals=signals, growth={}, variance={})


def _hurried(seen: Observed) -> Observed:
    if seen.panic is None:
        return seen
    mean = seen.mean
    if mean is not None and seen.stable:
        mean *= seen.panic / seen.stable
    return Observed(seen.panic, seen.panic, seen.last, mean, seen.measured, seen.missing)


def _reason(
    inputs: Inputs, merged: Merged, clamps: tuple[Clamp, ...], target: int, panic: bool
) -> str:
    previous = inputs.previous
    start = f"stays {target}" if target == previous else f"{previous} -> {target}"
    by = merged.by
    if by is None:
        says = "no rule asks for a change"
        if merged.blocked is not None:
            says = f"{merged.blocked.rule} cannot tell ({merged.blocked.reason})"
    elif by.verb is Verb.REJECT:
        says = f"{by.rule} allows no change ({by.reason})"
    else:
        words = {Verb.AT_LEAST: " at least", Verb.AT_MOST: " at most"}.get(by.verb or Verb.SET, "")
        says = f"{by.rule} wants{words} {by.count} ({by.reason})"
        if by.verb is Verb.AT_LEAST and merged.count != by.count:
            says = f"{by.rule} permits {merged.count} ({by.reason})"
    if panic and not merged.overridden:
        says = f"panic: {says}"
    last = clamps[-1].reason if clamps and target != merged.count else ""
    return f"{start}: {says}" + (f", but {last}" if last else "")
