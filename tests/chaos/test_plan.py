"""What goes wrong in a chaos run is drawn from its seed alone, and leaves somebody to answer."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "chaos_plan.py"
SPEC = importlib.util.spec_from_file_location("chaos_plan", PATH)
chaos_plan = importlib.util.module_from_spec(SPEC)


@pytest.fixture(autouse=True, scope="module")
def _loaded():
    import sys

    sys.modules["chaos_plan"] = chaos_plan  # where its dataclasses look for themselves
    SPEC.loader.exec_module(chaos_plan)
    yield
    del sys.modules["chaos_plan"]


def kind_of(fault):
    return next(kind for kind in chaos_plan.KINDS if kind.name == fault.kind)


@given(st.integers(0, 10**6), st.floats(5, 1200), st.integers(2, 8), st.integers(1, 3))
def test_half_of_the_servers_are_in_order_at_any_time(seed, seconds, servers, controllers):
    faults = chaos_plan.plan(seed, seconds, servers, controllers)
    assert faults == chaos_plan.plan(seed, seconds, servers, controllers)
    assert faults == sorted(faults, key=lambda fault: fault.at_s)
    failing = [f for f in faults if kind_of(f).of == chaos_plan.SERVER]
    for fault in faults:
        most = controllers if kind_of(fault).of == chaos_plan.CONTROLLER else servers
        assert 0 <= fault.target < most
        assert 0 <= fault.seconds <= kind_of(fault).most_s
        assert fault.end_s <= seconds - chaos_plan.REST_S + 0.01
    for fault in failing:
        at_once = {f.target for f in failing if f.at_s <= fault.at_s < f.end_s}
        assert len(at_once) <= servers // 2


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_nothing_fails_again_before_it_has_been_in_order(seed):
    faults = chaos_plan.plan(seed, 300.0, 4, 2)
    for at, fault in enumerate(faults):
        for later in faults[at + 1 :]:
            if (kind_of(fault).of, fault.target) == (kind_of(later).of, later.target):
                assert later.at_s >= fault.end_s + chaos_plan.REST_S - 0.01


@pytest.mark.parametrize("seed", range(5))
def test_in_ten_minutes_everything_fails(seed):
    faults = chaos_plan.plan(seed, 600.0, 4, 2)
    assert {fault.kind for fault in faults} == {kind.name for kind in chaos_plan.KINDS}
