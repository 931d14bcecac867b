"""What a policy would have done over recorded decisions.

Each recorded decision's signals are put before the policy, with its own target and memory in the
place of the recorded ones. The fleet's signals stay as they were: calls in flight hardly depend on
the count while it is enough, utilisations and latencies do, so rules on those are shown roughly.
Signals are those of the recorded windows; the record has one decision a minute and each change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.policy.decide_scale import judge
from meshlb.policy.scale_memory import ScaleMemory
from meshlb.scale_model import Decision, Inputs, ScalePolicy


@dataclass(frozen=True, slots=True)
class Point:
    """One instant at which either target changed."""

    at: float
    """Unix seconds."""
    recorded: int
    preview: int
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A policy against the record."""

    points: tuple[Point, ...]
    recorded_node_s: float
    preview_node_s: float
    covered_s: float


def preview(policy: ScalePolicy, decisions: Sequence[Decision]) -> Preview:
    """Return what ``policy`` would have wanted; ``decisions`` oldest first, of one service."""
    points: list[Point] = []
    memory: ScaleMemory | None = None
    recorded_s = preview_s = 0.0
    target = 0
    before: Decision | None = None
    for recorded in decisions:
        inputs = recorded.inputs
        if memory is None:
            target = inputs.previous
            memory = ScaleMemory(target, inputs.now)
        if before is not None:
            elapsed_s = max(0.0, inputs.now - before.inputs.now)
            recorded_s += elapsed_s * before.target
            preview_s += elapsed_s * target
        judged = judge(policy, _own(policy, inputs, target, memory))
        made = judged.decision
        memory.take(
            judged.wanted, made.target, panic=made.panic, surge=judged.surge, now=inputs.now
        )
        changed = before is None or recorded.target != before.target or made.target != target
        target = made.target
        if changed:
            points.append(Point(inputs.now, recorded.target, target, made.reason))
        before = recorded
    covered_s = 0.0
    if before is not None:
        covered_s = max(0.0, before.inputs.now - decisions[0].inputs.now)
    return Preview(tuple(points), recorded_s, preview_s, covered_s)


def _own(policy: ScalePolicy, inputs: Inputs, target: int, memory: ScaleMemory) -> Inputs:
    """Return recorded inputs with the previewed policy's own past."""
    now = inputs.now
    since = memory.panicking_since(policy, now)
    base_out, base_in = memory.rate_bases(policy, target, now)
    # nodes that it would have had: all that it wanted but those that still start
    starting = min(inputs.starting, target)
    return dataclasses.replace(
        inputs,
        previous=target,
        ready=max(0, target - starting),
        starting=starting,
        panic_since=since,
        panic_most=memory.panic_most,
        recent_most=memory.recent_most(policy, now),
        recent_least=memory.recent_least(policy, now),
        rate_base_out=base_out,
        rate_base_in=base_in,
    )
