"""The simulator: equal seeds give equal results, theory is met, and the default picker is good."""

import math
import statistics

import pytest

from meshlb.sim.nodes import SlotNode
from meshlb.sim.run import run
from meshlb.sim.scenario import IDEAL, Scenario, Speeds


def test_equal_scenarios_give_equal_results():
    scenario = Scenario(measured_s=5, clients=4)

    assert run(scenario).latencies_s == run(scenario).latencies_s


def erlang_c_wait_s(rate, service_s, slots):
    """Mean wait of M/M/c."""
    load = rate * service_s
    top = load**slots / math.factorial(slots) * slots / (slots - load)
    waits = top / (sum(load**k / math.factorial(k) for k in range(slots)) + top)
    return waits * service_s / (slots - load)


@pytest.mark.parametrize(("slots", "rate"), [(1, 15.0), (4, 80.0), (16, 350.0)])
def test_one_node_waits_as_erlang_says(slots, rate):
    scenario = Scenario(
        picker=IDEAL, rate=rate, measured_s=1500, fleet=lambda: [SlotNode(0.04, slots)]
    )
    mean_s = statistics.fmean(run(scenario).latencies_s)

    assert mean_s == pytest.approx(0.04 + erlang_c_wait_s(rate, 0.04, slots), rel=0.06)


@pytest.mark.parametrize("speeds", [Speeds.SLOTS, Speeds.LEARNED])
def test_the_default_picker_stays_near_perfect_knowledge(speeds):
    ideal = run(Scenario(picker=IDEAL, measured_s=40))
    default = run(Scenario(speeds=speeds, measured_s=40))
    plain = run(Scenario(picker="least_request", measured_s=40))

    assert default.quantile_s(0.99) < 1.5 * ideal.quantile_s(0.99)
    assert default.quantile_s(0.99) < 0.7 * plain.quantile_s(0.99)
    assert default.left < 100  # no queue grows
