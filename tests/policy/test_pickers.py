"""What each picker promises of its own."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.model import SpeedCurve, TableNode
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad, occupancy
from meshlb.policy.pickers import (
    dynamic_weight,
    expected_delay,
    least_request,
    p2c,
    response_time,
    round_robin,
)


def nodes(*loads, weights=None, curves=None):
    made = []
    for number, in_flight in enumerate(loads):
        load = NodeLoad()
        load.in_flight = in_flight
        info = TableNode(
            f"n{number}", 1, f"h{number}:1",
            weight=weights[number] if weights else 1.0,
            curve=curves[number] if curves else None,
        )  # fmt: skip
        made.append(Candidate(info, load))
    return made


def picks(module, candidates, count=1000, client=None, **params):
    picker = module.build(
        candidates, client or ClientLoad(), random.Random(1), module.Params(**params)
    )
    return Counter(picker.pick(0.0) for _ in range(count))


def test_round_robin_goes_round():
    picker = round_robin.build(nodes(0, 0, 0), ClientLoad(), random.Random(1), round_robin.Params())
    seen = [picker.pick(0.0) for _ in range(6)]

    assert sorted(seen[:3]) == [0, 1, 2]
    assert seen[:3] == seen[3:]


def test_least_request_takes_the_least_of_all_and_breaks_ties_at_random():
    assert picks(least_request, nodes(3, 1, 2)) == {1: 1000}
    tied = picks(least_request, nodes(1, 5, 1))
    assert set(tied) == {0, 2}
    assert 400 < tied[0] < 600


def test_p2c_never_takes_the_busiest_of_distinct_counts():
    taken = picks(p2c, nodes(1, 2, 9))

    assert set(taken) == {0, 1}
    assert taken[0] > taken[1]


def test_dynamic_weight_meets_the_weights_exactly_over_a_cycle():
    taken = picks(dynamic_weight, nodes(0, 0, 0, weights=[0.5, 1.0, 2.0]), count=7000)

    assert [taken[n] for n in range(3)] == [1000, 2000, 4000]


def test_a_node_that_fails_fast_never_looks_fast():
    made = nodes(0, 0)
    now = 0.0
    for _ in range(20):
        now += 0.1
        made[0].load.observe_response(0.001, False, now)
        made[1].load.observe_response(0.100, True, now)
    picker = response_time.build(made, ClientLoad(), random.Random(1), response_time.Params())

    assert Counter(picker.pick(now) for _ in range(200)) == {1: 200}


def test_a_node_that_was_slow_is_tried_again_after_a_while():
    made = nodes(0, 0)
    made[0].load.observe_response(10.0, True, 0.0)
    made[1].load.observe_response(0.1, True, 0.0)
    picker = response_time.build(made, ClientLoad(), random.Random(1), response_time.Params())
    at = {}
    for now in (1.0, 100.0):
        made[1].load.observe_response(0.1, True, now)  # the fast one goes on answering
        at[now] = Counter(picker.pick(now) for _ in range(200))[0]

    assert at[1.0] == 0
    assert at[100.0] > 50


FAST, SLOW = SpeedCurve(0.04, 0.01, 4), SpeedCurve(0.16, 0.04, 4)


def test_expected_delay_draws_by_capacity_and_takes_the_shorter_delay():
    idle = picks(expected_delay, nodes(0, 0, curves=[FAST, SLOW]), explore=0)
    assert idle[0] > 0.9 * idle.total()

    queued = picks(expected_delay, nodes(40, 0, curves=[FAST, SLOW]), explore=0)
    assert queued[1] > queued[0] * 0.2  # 0.41 s at the fast one, 0.16 s at the slow one


def test_expected_delay_explores_so_that_a_slow_node_is_found_out_when_it_recovers():
    curves = [FAST, SpeedCurve(100.0, 25.0, 4)]
    taken = picks(expected_delay, nodes(0, 0, curves=curves), count=20_000)

    assert taken[1] > 20


@pytest.mark.parametrize(
    ("own", "total", "share", "others", "wanted"),
    [
        (2, 2, None, None, 2.0),  # nothing known: own calls
        (2, 2, 0.5, None, 4.0),  # own calls scaled up
        (2, 2, None, 5.0, 7.0),  # own calls and the controller's count of the others
        (2, 8, 0.25, 5.0, 8.0),  # many of its own: they say it all
        (2, 3, 0.25, 4.0, 7.0),  # half and half of 8 and 6
    ],
)
def test_occupancy_blends_what_is_known(own, total, share, others, wanted):
    node, client = NodeLoad(), ClientLoad()
    node.in_flight, node.others = own, others
    client.in_flight, client.share = total, share

    assert occupancy(node, client) == pytest.approx(wanted)


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 60), st.floats(1e-6, 1e3))
def test_an_old_count_lies_between_what_was_counted_and_what_is_usual(
    usual, counted, age_s, base_s
):
    load, curve = NodeLoad(), SpeedCurve(base_s, base_s, 1.0)
    load.count_others(usual, age_s, curve)
    load.count_others(counted, age_s, curve)

    least, most = sorted((load.usual, counted))
    assert least - 1e-6 <= load.others <= most + 1e-6


def test_a_count_of_long_calls_is_kept_and_one_of_short_calls_forgotten():
    long, short = NodeLoad(), NodeLoad()
    for counted in (2.0, 10.0):
        long.count_others(counted, 0.1, SpeedCurve(10.0, 1.0, 8.0))
        short.count_others(counted, 0.1, SpeedCurve(0.01, 0.001, 8.0))

    assert long.others == pytest.approx(10.0, abs=0.1)
    assert short.others == pytest.approx(short.usual, abs=0.1)


def test_a_count_that_is_not_known_is_none_and_what_is_usual_stays():
    load = NodeLoad()
    load.count_others(4.0, 0.1, None)
    load.count_others(None, 0.1, None)

    assert load.others is None
    assert load.usual == 4.0


def test_more_choices_find_the_idle_node_more_often():
    made = nodes(5, 5, 5, 0)

    assert picks(expected_delay, made, choices=8)[3] > picks(expected_delay, made, choices=2)[3]
