"""Asking one scaling rule, for tests."""

from meshlb import plugins
from meshlb.scale_model import (
    Inputs,
    Observed,
)


def seen(stable, measured=1, panic=None, missing=0, mean=None):
    panic = stable if panic is None else panic
    mean = stable / measured if mean is None else mean
    return Observed(stable, panic, panic, mean, measured, missing)


def inputs(previous=3, ready=None, starting=0, signals=None, **more):
    ready = previous if ready is None else ready
    more = {"recent_most": 0, "rate_base_out": previous, "rate_base_in": previous} | more
    return Inputs(
        now=1.7e9, ready=ready, starting=starting, draining=0, previous=previous,
        signals=signals or {}, **more,
    )  # fmt: skip


def ask(kind, given, **params):
    module = plugins.load("meshlb.policy.rules", kind)
    made = module.Params(**params)
    assert made.faults() == []
    return module.wants(given, made, kind)


def one(kind, given, **params):
    wants = ask(kind, given, **params)
    assert len(wants) == 1
    return wants[0]
