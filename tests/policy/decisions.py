"""The smallest policy and inputs, for tests of decisions."""

from meshlb.scale_model import (
    Inputs,
    Observed,
    RuleSpec,
    ScalePolicy,
)

NOW = 1.7e9


def policy(*rules, **more):
    rules = rules or (RuleSpec("group", {"target": 10.0}),)
    return ScalePolicy("s", rules=rules, **({"max": 100} | more))


def load(total, panic=None, measured=3, missing=0):
    panic = total if panic is None else panic
    return {"in_flight": Observed(total, panic, panic, total / measured, measured, missing)}


def inputs(previous=3, total=30.0, **more):
    more = {
        "ready": previous,
        "starting": 0,
        "signals": load(total),
        "rate_base_out": previous,
        "rate_base_in": previous,
    } | more
    return Inputs(now=NOW, draining=0, previous=previous, **more)


def steps(decision):
    return [c.name for c in decision.clamps]
