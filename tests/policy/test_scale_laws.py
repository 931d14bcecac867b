"""Laws that hold for whatever policy, inputs and load."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from meshlb.model import SpeedCurve
from meshlb.policy.decide_scale import decide
from meshlb.policy.scale_record import from_json, policy_from_json, policy_to_json, replay, to_json
from meshlb.policy.scaler import Scaler
from meshlb.scale_model import (
    ADDITIVE,
    SIGNALS,
    Inputs,
    Manual,
    Mode,
    Observed,
    Pause,
    Reading,
    RuleSpec,
    Sample,
    ScalePolicy,
    Vertical,
)

UNIX = 1.7e9
counts = st.integers(0, 200)
rules = st.sampled_from(
    [
        RuleSpec("group", {"target": 8.0}),
        RuleSpec("group", {"signal": "cpu", "target": 0.7}),
        RuleSpec("reserve"),
        RuleSpec("reserve", {"target": 4.0, "k": 1.5}),
        RuleSpec("reserve", {"signal": "cpu_cores", "target": 2.5}),
        RuleSpec("threshold", {"signal": "gpu", "high": 0.9, "low": 0.4, "step": 2}),
        RuleSpec("threshold", {"signal": "response_time", "high": 2.0}),
        RuleSpec("latency", {"objective_s": 5.0, "quantile": "p90"}),
        RuleSpec("forecast", {"target": 8.0}),
        RuleSpec("schedule", {"windows": [{"start": "06:00", "end": "20:00", "min": 3, "max": 9}]}),
        RuleSpec("manual", {"count": 4}),
    ]
)


@st.composite
def policies(draw, **fixed):
    least = draw(st.integers(0, 20))
    made = {
        "service": "s",
        "mode": draw(st.sampled_from(Mode)),
        "min": least,
        "max": draw(st.integers(max(1, least), 60)),
        "rules": tuple(draw(st.lists(rules, max_size=3))),
        "panic_threshold": draw(st.floats(1, 5)),
        "tolerance": draw(st.floats(0, 0.5)),
        "scale_out_step": draw(st.integers(1, 8)),
        "scale_in_step": draw(st.none() | st.integers(1, 8)),
        "consolidation_limit": draw(st.floats(0.1, 1)),
        "scale_out_window_s": draw(st.sampled_from([0.0, 30.0])),
        "vertical": draw(st.sampled_from(Vertical)),
    }
    return ScalePolicy(**(made | fixed))


@st.composite
def signals(draw, names=SIGNALS):
    found = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=5)):
        stable = draw(st.none() | st.floats(0, 500))
        measured = draw(st.integers(1, 50))
        found[name] = Observed(
            stable=stable,
            panic=draw(st.none() | st.floats(0, 500)),
            last=draw(st.none() | st.floats(0, 500)),
            mean=None if stable is None else stable / measured,
            measured=measured,
            missing=draw(st.integers(0, 3)),
        )
    return found


curves = st.builds(SpeedCurve, st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0, 64))
manuals = st.builds(
    Manual,
    count=st.none() | counts,
    min=st.none() | counts,
    max=st.none() | counts,
    expires_at=st.none() | st.floats(UNIX - 100, UNIX + 100),
    reason=st.text(max_size=5),
)
some_inputs = st.builds(
    Inputs,
    now=st.floats(UNIX, UNIX + 1e6),
    ready=counts,
    starting=counts,
    draining=counts,
    previous=counts,
    signals=signals(),
    waiting=st.integers(0, 20),
    reported=st.floats(0, 1),
    curve=st.none() | curves,
    start_up_s=st.none() | st.floats(0, 600),
    forecast=st.dictionaries(st.sampled_from(ADDITIVE), st.floats(0, 500)),
    growth=st.dictionaries(st.sampled_from(ADDITIVE), st.floats(-5, 5)),
    manual=st.none() | manuals,
    pause=st.builds(Pause, st.booleans(), st.booleans()),
    panic_since=st.none() | st.floats(UNIX - 60, UNIX),
    panic_most=counts,
    recent_most=counts,
    recent_least=st.none() | counts,
    rate_base_out=counts,
    rate_base_in=counts,
    idle_s=st.none() | st.floats(0, 1e4),
    hold_in=st.sampled_from(["", "just started"]),
    slots=st.none() | st.floats(1, 64),
)


def by_hand(inputs):
    manual = inputs.manual
    return manual is not None and (manual.expires_at is None or manual.expires_at > inputs.now)


def free(policy):
    """Whether no rule overrides or bounds: the count is computed from load alone."""
    return not any(rule.kind in ("manual", "schedule") for rule in policy.rules)


@given(policies(), some_inputs)
def test_a_target_is_within_the_bounds_in_effect(policy, inputs):
    decision = decide(policy, inputs)

    assert decision.least <= decision.target <= decision.most
    if not by_hand(inputs):
        assert policy.min <= decision.least <= decision.most <= policy.max


@given(policies(), some_inputs)
def test_the_same_inputs_give_the_same_decision_and_its_record_gives_it_again(policy, inputs):
    decision = decide(policy, inputs)
    text = to_json(decision)

    assert decide(policy, inputs) == decision
    assert from_json(text) == decision
    assert to_json(from_json(text)) == text
    assert to_json(replay(text)) == text
    assert policy_from_json(policy_to_json(policy)) == policy


@given(policies(), some_inputs)
def test_every_step_and_want_has_a_reason_and_the_steps_lead_to_the_target(policy, inputs):
    decision = decide(policy, inputs)

    count = decision.raw
    for clamp in decision.clamps:
        assert clamp.before == count
        assert clamp.reason
        count = clamp.after
    assert count == decision.target
    assert decision.reason
    assert all(want.reason for want in decision.wants)


@given(policies(min=0, max=200), some_inputs)
def test_nothing_is_taken_away_without_a_signal_in_panic_or_while_held(policy, inputs):
    inputs = dataclasses.replace(inputs, manual=None, previous=min(200, inputs.previous))
    if not free(policy):
        return
    decision = decide(policy, inputs)
    missing = any(want.verb is None for want in decision.wants)

    if (
        missing
        or not policy.rules
        or decision.panic
        or inputs.hold_in
        or inputs.pause.scale_in
        or inputs.reported < 0.9
    ):
        assert decision.target >= inputs.previous
    if inputs.pause.scale_out:
        assert decision.target <= inputs.previous


@given(policies(min=0, max=200), some_inputs, st.sampled_from(SIGNALS))
def test_taking_a_signal_away_never_takes_a_node_away(policy, inputs, name):
    inputs = dataclasses.replace(inputs, manual=None, previous=min(200, inputs.previous))
    if not free(policy) or not any(dict(r.params).get("signal") == name for r in policy.rules):
        return
    kept = {key: value for key, value in inputs.signals.items() if key != name}
    if name == "response_time" and "in_flight" in kept:
        return  # without calls there is no latency, and nothing is missing

    assert decide(policy, dataclasses.replace(inputs, signals=kept)).target >= inputs.previous


@given(policies(min=0, max=200), some_inputs)
def test_growth_is_limited_by_the_rate(policy, inputs):
    inputs = dataclasses.replace(inputs, manual=None, previous=min(200, inputs.previous))
    if not free(policy):
        return
    base = min(inputs.rate_base_out, inputs.previous)
    allowed = max(base + policy.scale_out_step, 2 * base, inputs.previous)

    assert decide(policy, inputs).target <= allowed


loads = st.lists(
    st.tuples(st.floats(1, 120), st.floats(0, 80), st.integers(0, 3)), min_size=1, max_size=6
)


def run(policy, phases, start_up_s, ready, tick=2.0):
    """Run a scaler over phases of (seconds, load, silent nodes); yield decisions with the time."""
    scaler = Scaler(policy, 0.0, previous=ready)
    now, starting = 0.0, []
    for seconds, load, silent in phases:
        for _ in range(max(1, int(seconds / tick))):
            now += tick
            ready += sum(1 for at in starting if at <= now)
            starting = [at for at in starting if at > now]
            told = max(0, ready - silent)
            cpu = min(1.0, load / 8.0 / ready) * told if ready else 0.0
            readings = {
                "in_flight": Reading(load, ready),
                "cpu": Reading(cpu if told else None, told, ready - told),
            }
            waiting = round(load) if ready == 0 else 0
            scaler.observe(Sample(ready, len(starting), 0, readings, waiting), now)
            decision = scaler.decide(now, UNIX + now)
            yield now, load, decision
            there = ready + len(starting)
            starting += [now + start_up_s] * max(0, decision.target - there)
            for _ in range(max(0, there - decision.target)):
                if starting:
                    starting.pop()
                else:
                    ready -= 1


@settings(max_examples=25)
@given(loads, st.sampled_from([4.0, 60.0, 1e9]), st.integers(1, 10))
def test_nothing_runs_away_while_replicas_start(phases, start_up_s, ready):
    policy = ScalePolicy(
        "s",
        max=1000,
        rules=(RuleSpec("group", {"target": 8.0}), RuleSpec("threshold", {"signal": "cpu"})),
    )
    most = max([load for _, load, _ in phases])
    # what the greatest load takes at 80 % a node, and one step beyond
    limit = max(ready, int(most / 8.0 / 0.8) + 2)

    for _, _, decision in run(policy, phases, start_up_s, ready):
        assert decision.target <= limit


@settings(max_examples=25)
@given(loads, st.integers(0, 10), st.booleans())
def test_over_time_a_target_is_within_bounds_and_no_panic_takes_away(phases, ready, zero):
    policy = ScalePolicy(
        "s",
        min=0 if zero else 2,
        max=12,
        idle_limit_s=20.0,
        scale_in_window_s=30.0,
        stable_window_s=20.0,
        rules=(RuleSpec("reserve", {"target": 8.0}),),
    )
    for _, load, decision in run(policy, phases, 10.0, ready):
        assert policy.min <= decision.target <= policy.max
        previous = decision.inputs.previous
        if decision.panic and previous <= policy.max:
            assert decision.target >= previous
        if load >= 1 and decision.inputs.ready == 0:
            assert decision.target >= 1
        assert replay(to_json(decision)) == decision


@settings(max_examples=10)
@given(loads, st.integers(1, 10))
def test_one_history_gives_one_course(phases, ready):
    policy = ScalePolicy("s", rules=(RuleSpec("reserve", {"target": 8.0}),))
    once = [to_json(d) for _, _, d in run(policy, phases, 10.0, ready)]

    assert [to_json(d) for _, _, d in run(policy, phases, 10.0, ready)] == once
