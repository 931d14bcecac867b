"""Every scaling rule found in its folder, and those of third parties."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb import plugins
from meshlb.model import SpeedCurve
from meshlb.policy.decide_scale import decide
from meshlb.policy.scale_record import from_json, to_json
from meshlb.scale_model import (
    ADDITIVE,
    SIGNALS,
    Inputs,
    Manual,
    Observed,
    RuleSpec,
    ScalePolicy,
    Verb,
)

PACKAGE = "meshlb.policy.rules"
counts = st.integers(0, 300)
amounts = st.none() | st.floats(0, 1e6)


@st.composite
def observed(draw):
    stable = draw(amounts)
    measured, missing = draw(st.integers(1, 300)), draw(st.integers(0, 50))
    return Observed(
        stable=stable,
        panic=draw(amounts),
        last=draw(amounts),
        mean=None if stable is None else stable / measured,
        measured=measured,
        missing=missing,
    )


some_inputs = st.builds(
    Inputs,
    now=st.floats(1e9, 2e9),
    ready=counts,
    starting=counts,
    draining=counts,
    previous=counts,
    signals=st.dictionaries(st.sampled_from(SIGNALS), observed(), max_size=5),
    waiting=st.integers(0, 100),
    curve=st.none()
    | st.builds(SpeedCurve, st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0, 1e3)),
    start_up_s=st.none() | st.floats(0, 1e4),
    forecast=st.dictionaries(st.sampled_from(ADDITIVE), st.floats(0, 1e6)),
    growth=st.dictionaries(st.sampled_from(ADDITIVE), st.floats(-1e4, 1e4)),
    manual=st.none() | st.builds(Manual, count=st.none() | counts),
    slots=st.none() | st.floats(1, 1000),
)


@pytest.fixture(params=plugins.names(PACKAGE), scope="session")
def rule(request):
    return plugins.load(PACKAGE, request.param)


def test_its_file_says_what_it_is(rule):
    assert rule.__doc__
    assert rule.Params.__doc__
    assert rule.wants.__doc__


def test_its_params_are_frozen_and_their_defaults_without_fault_but_for_required_ones(rule):
    params = rule.Params()
    assert dataclasses.is_dataclass(params)
    assert rule.Params.__dataclass_params__.frozen
    faults = getattr(params, "faults", list)()
    assert all(" = " in fault and ": " in fault for fault in faults)


@given(inputs=some_inputs)
def test_a_want_has_a_reason_and_a_count_that_can_be(rule, inputs):
    for want in rule.wants(inputs, rule.Params(), "name"):
        assert want.rule == "name"
        assert want.reason
        assert want.count is None or (isinstance(want.count, int) and 0 <= want.count <= 10_000)
        assert (want.count is None) == (want.verb in (None, Verb.REJECT))
        assert want.utilization is None or (
            math.isfinite(want.utilization) and want.utilization >= 0
        )


@given(inputs=some_inputs)
def test_the_same_inputs_give_the_same_wants(rule, inputs):
    assert rule.wants(inputs, rule.Params(), "x") == rule.wants(inputs, rule.Params(), "x")


def test_nothing_known_makes_no_count(rule):
    nothing = Inputs(now=1e9, ready=3, starting=0, draining=0, previous=3, signals={})

    for want in rule.wants(nothing, rule.Params(), "x"):
        assert want.verb is None


@given(previous=st.integers(1, 50), reported=st.floats(0.9, 1))
def test_nothing_known_never_scales_in(rule, previous, reported):
    kind = rule.__name__.rpartition(".")[2]
    nothing = Inputs(
        now=1e9, ready=previous, starting=0, draining=0, previous=previous, signals={},
        reported=reported,
    )  # fmt: skip
    policy = ScalePolicy("s", max=100, rules=(RuleSpec(kind),))

    # a schedule looks at no load: it alone goes by its bounds
    if not getattr(rule, "BOUNDS", False):
        assert decide(policy, nothing).target == previous


@given(inputs=some_inputs)
def test_its_decisions_are_recorded_bit_for_bit(rule, inputs):
    kind = rule.__name__.rpartition(".")[2]
    decision = decide(ScalePolicy("s", max=100, rules=(RuleSpec(kind),)), inputs)
    text = to_json(decision)

    assert from_json(text) == decision
    assert to_json(from_json(text)) == text
