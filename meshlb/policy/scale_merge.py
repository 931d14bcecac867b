"""How the wants of a policy's rules become one count.

SET: the greatest. With none, the count so far; one less if every rule that knows the load asks for
less. AT_LEAST raises, AT_MOST lowers, REJECT keeps the count so far. A want without verb blocks
scale-in only, which is a clamp's business. A SET of a rule that overrides replaces all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshlb import plugins
from meshlb.policy.rules import Wants
from meshlb.scale_model import Inputs, RuleSpec, ScalePolicy, Verb, Want

RULES = "meshlb.policy.rules"
MOST_KNOWN = 4096
_MANUAL = RuleSpec("manual")


@dataclass(frozen=True, slots=True)
class Asked:
    """One want, and how its rule's file says it counts."""

    want: Want
    bound: bool = False
    overrides: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """All wants as one count."""

    count: int
    by: Want | None
    """Want that made it; None: no rule asks for a change."""
    overridden: bool = False
    """Set by hand."""
    computed: bool = False
    """By a SET, so that the tolerance applies."""
    blocked: Want | None = None
    """First want that is missing its signal."""
    floor: int = 0
    """Greatest AT_LEAST."""


class _Rule(NamedTuple):
    """One rule, read once a policy."""

    wants: Wants
    params: Any
    name: str
    bound: bool
    overrides: bool


_known: dict[int, tuple[ScalePolicy, tuple[_Rule, ...]]] = {}
"""By id of the policy, which is held so that the id stays its own: reading rules is most of the
time that a decision takes."""


def ask(policy: ScalePolicy, inputs: Inputs) -> list[Asked]:
    """Return what every rule wants; that set by hand first."""
    known = _known.get(id(policy))
    if known is None or known[0] is not policy:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        known = _known[id(policy)] = (policy, _rules(policy))
    return [
        Asked(want, rule.bound, rule.overrides)
        for rule in known[1]
        for want in rule.wants(inputs, rule.params, rule.name)
    ]


def _rules(policy: ScalePolicy) -> tuple[_Rule, ...]:
    specs = policy.rules
    if not any(spec.kind == "manual" for spec in specs):
        specs = (_MANUAL, *specs)
    made = []
    for spec in specs:
        module = plugins.load(RULES, spec.kind)
        made.append(
            _Rule(
                module.wants,
                module.Params(**spec.params),
                spec.name or spec.kind,
                getattr(module, "BOUNDS", False),
                getattr(module, "OVERRIDES", False),
            )
        )
    return tuple(made)


def merge(asked: Sequence[Asked], policy: ScalePolicy, inputs: Inputs) -> Merged:
    """Return the count that all wants together make; bounds are left to the clamps."""
    by_hand = [a.want for a in asked if a.overrides and a.want.verb is Verb.SET]
    if by_hand:
        first = by_hand[0]
        return Merged(first.count or 0, first, overridden=True)
    wants = [a.want for a in asked if not a.bound]
    blocked = next((w for w in wants if w.verb is None), None)
    rejects = [w for w in wants if w.verb is Verb.REJECT]
    if rejects:
        return Merged(inputs.previous, rejects[0], blocked=blocked)
    count, by = _base(wants, asked, policy, inputs)
    computed = by is not None and by.verb is Verb.SET
    floor = 0
    for want in wants:
        if want.verb is Verb.AT_LEAST and want.count is not None:
            floor = max(floor, want.count)
            if want.count > count:
                count, by, computed = want.count, want, False
    for want in wants:
        if want.verb is Verb.AT_MOST and want.count is not None and want.count < count:
            count, by, computed = want.count, want, False
    return Merged(count, by, computed=computed, blocked=blocked, floor=floor)


def _base(
    wants: Sequence[Want], asked: Sequence[Asked], policy: ScalePolicy, inputs: Inputs
) -> tuple[int, Want | None]:
    sets = [w for w in wants if w.verb is Verb.SET and w.count is not None]
    if sets:
        best = max(sets, key=lambda w: w.count or 0)
        return best.count or 0, best
    if not wants and any(a.bound for a in asked):
        return 0, None  # a schedule alone: as few as its bounds allow
    previous = inputs.previous
    least = [w for w in wants if w.verb is Verb.AT_LEAST]
    permitted = (
        bool(least)
        and all(w.verb is not None for w in wants)
        and all((w.count or 0) < previous for w in least)
        and any(w.utilization is not None for w in least)
        # one at a time: the last one less has to show in the load first
        and inputs.rate_base_in <= previous
    )
    if permitted and policy.rules:
        calmest = max(least, key=lambda w: w.utilization or 0.0)
        return max(0, previous - 1), calmest
    return previous, None
