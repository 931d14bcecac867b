"""Each step from the merged wants to the target, in order, with its reason.

What an operator has set goes through pause and bounds only. Bounds come last, so no target is ever
outside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from meshlb.policy.scale_load import whole
from meshlb.policy.scale_merge import Asked, Merged
from meshlb.scale_model import Clamp, Inputs, ScalePolicy, Verb

REPORTED_LIMIT = 0.9
"""With fewer of the known nodes reporting nothing is taken away."""


class Bounds:
    """Least and most nodes now, and who says so."""

    __slots__ = ("least", "most", "why_least", "why_most")

    def __init__(self, policy: ScalePolicy, inputs: Inputs, asked: Sequence[Asked]) -> None:
        self.least, self.why_least = policy.min, "the policy"
        self.most, self.why_most = policy.max, "the policy"
        for one in asked:
            want = one.want
            if not one.bound or want.count is None:
                continue
            count = min(max(want.count, policy.min), policy.max)
            if want.verb is Verb.AT_LEAST and count > self.least:
                self.least, self.why_least = count, want.rule
            elif want.verb is Verb.AT_MOST and count < self.most:
                self.most, self.why_most = count, want.rule
        manual = inputs.manual
        if manual is not None and (manual.expires_at is None or manual.expires_at > inputs.now):
            if manual.min is not None:
                self.least, self.why_least = manual.min, "bounds set by hand"
            if manual.max is not None:
                self.most, self.why_most = manual.max, "bounds set by hand"
        self.least = min(self.least, self.most)


class _Steps:
    def __init__(self, count: int) -> None:
        self.count = count
        self.taken: list[Clamp] = []

    def to(self, name: str, count: int, reason: str) -> None:
        if count != self.count:
            self.taken.append(Clamp(name, self.count, count, reason))
            self.count = count


def clamp(
    policy: ScalePolicy,
    inputs: Inputs,
    merged: Merged,
    asked: Sequence[Asked],
    bounds: Bounds,
    panic: bool,
) -> tuple[int, tuple[Clamp, ...]]:
    """Return the target, and the steps that changed the count."""
    steps = _Steps(merged.count)
    if not merged.overridden:
        resting = _rests(policy, inputs, merged, bounds)
        if resting:
            steps.to("idle", 0, f"no call for {inputs.idle_s or 0:.0f} s")
        elif inputs.previous == 0:
            _wake(steps, inputs)
        else:
            _calm(steps, policy, inputs, merged, panic)
        _hold(steps, inputs, merged, panic)
        if not resting:
            if steps.count < inputs.previous:
                _stay_used(steps, policy, inputs, asked)
            _limit_rate(steps, policy, inputs)
            if steps.count == 0 and inputs.previous > 0 and bounds.least == 0:
                steps.to("idle", 1, f"0 only after {policy.idle_limit_s:g} s without a call")
    previous = inputs.previous
    paused = f": {inputs.pause.reason}" if inputs.pause.reason else ""
    if inputs.pause.scale_out and steps.count > previous:
        steps.to("pause", previous, f"scale-out is paused{paused}")
    if inputs.pause.scale_in and steps.count < previous:
        steps.to("pause", previous, f"scale-in is paused{paused}")
    steps.to(
        "bounds", max(steps.count, bounds.least), f"at least {bounds.least} ({bounds.why_least})"
    )
    steps.to("bounds", min(steps.count, bounds.most), f"at most {bounds.most} ({bounds.why_most})")
    return steps.count, tuple(steps.taken)


def _rests(policy: ScalePolicy, inputs: Inputs, merged: Merged, bounds: Bounds) -> bool:
    return (
        bounds.least == 0
        and inputs.waiting == 0
        and inputs.idle_s is not None
        and inputs.idle_s >= policy.idle_limit_s
        and merged.floor == 0
    )


def _wake(steps: _Steps, inputs: Inputs) -> None:
    if inputs.waiting > 0:
        calls = "1 call waits" if inputs.waiting == 1 else f"{inputs.waiting} calls wait"
        steps.to("wake", max(1, steps.count), f"{calls} for a node")


def _calm(steps: _Steps, policy: ScalePolicy, inputs: Inputs, merged: Merged, panic: bool) -> None:
    previous = inputs.previous
    if panic and steps.count < previous:
        steps.to("panic", previous, f"no scale-in in panic (up to {inputs.panic_most} since)")
    apart = abs(steps.count - previous)
    if merged.computed and not panic and steps.count and 0 < apart < policy.tolerance * previous:
        steps.to(
            "tolerance", previous, f"{apart} off {previous} is less than {policy.tolerance:.0%}"
        )
    if steps.count < previous and inputs.recent_most > steps.count:
        steps.to(
            "window",
            min(previous, inputs.recent_most),
            f"{inputs.recent_most} was wanted within {policy.scale_in_window_s:g} s",
        )
    least = inputs.recent_least
    if steps.count > previous and least is not None and least < steps.count and not panic:
        steps.to(
            "window",
            max(previous, least),
            f"only {least} was wanted throughout {policy.scale_out_window_s:g} s",
        )


def _nodes(count: int) -> str:
    return "1 node that starts is" if count == 1 else f"{count} nodes that start are"


def _hold(steps: _Steps, inputs: Inputs, merged: Merged, panic: bool) -> None:
    previous = inputs.previous
    if steps.count >= previous:
        return
    if panic:
        steps.to("panic", previous, "no scale-in in panic")
    elif merged.blocked is not None:
        steps.to("missing", previous, f"{merged.blocked.rule}: {merged.blocked.reason}")
    elif inputs.starting > 0:
        steps.to("starting", previous, f"{_nodes(inputs.starting)} waited for")
    elif inputs.hold_in:
        steps.to("hold", previous, inputs.hold_in)
    elif inputs.reported < REPORTED_LIMIT:
        steps.to("reported", previous, f"only {inputs.reported:.0%} of the known nodes report")


def _stay_used(steps: _Steps, policy: ScalePolicy, inputs: Inputs, asked: Sequence[Asked]) -> None:
    """Keep as many nodes as stay below ``consolidation_limit`` of every objective."""
    previous, limit = inputs.previous, policy.consolidation_limit
    for one in asked:
        used = one.want.utilization
        if used is None or not math.isfinite(used):
            continue
        enough = min(previous, whole(used * previous / limit))
        if enough > steps.count:
            then = used * previous / max(1, enough - 1)
            steps.to(
                "consolidation",
                enough,
                f"{max(1, enough - 1)} would be at {then:.0%} of {one.want.rule}'s objective, "
                f"above {limit:.0%}",
            )


def _limit_rate(steps: _Steps, policy: ScalePolicy, inputs: Inputs) -> None:
    previous = inputs.previous
    if steps.count > previous:
        base = min(inputs.rate_base_out, previous)
        allowed = max(base + policy.scale_out_step, 2 * base, previous)
        if allowed < steps.count:
            steps.to("rate", allowed, f"at most {allowed} within {policy.rate_period_s:g} s")
    elif steps.count < previous and policy.scale_in_step is not None:
        base = max(inputs.rate_base_in, previous)
        allowed = min(base - policy.scale_in_step, previous)
        if allowed > steps.count:
            steps.to("rate", allowed, f"at least {allowed} within {policy.rate_period_s:g} s")
