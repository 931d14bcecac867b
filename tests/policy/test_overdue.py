"""Silence as evidence, by time tables: looks every 25 ms, and what was counted by then."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.policy.overdue import ENOUGH, LEAST_SILENCE_S, Latencies, Silence

LOOK_S = 0.025


def measured(*latencies_s):
    made = Latencies()
    for latency_s in latencies_s:
        made.add(latency_s)
    return made


def watch(latencies, counts, base_s=None):
    """Look every 25 ms at (started, heard, in flight); return the evidence at each look."""
    silence, found = Silence(), []
    for look, (started, heard, in_flight) in enumerate(counts):
        now = 100.0 + look * LOOK_S
        silence.look(started, heard, in_flight, now, LOOK_S)
        found.append(silence.evidence(in_flight, now, latencies, base_s))
    return found


SHORT = measured(*[0.04] * 200)


def frozen_after(calls, looks=20):
    return [(10 + min(look, calls), 9, 1 + min(look, calls)) for look in range(looks)]


def test_two_calls_without_an_answer_are_enough_within_250_ms_where_calls_take_40():
    found = watch(SHORT, frozen_after(2, looks=11))
    assert found[-1] >= ENOUGH


def test_one_call_takes_longer_to_tell_and_tells_in_the_end():
    found = watch(SHORT, frozen_after(1, looks=80))
    assert found[4] < ENOUGH <= found[-1]


def test_what_was_there_before_the_last_answer_says_nothing_however_long_it_takes():
    counts = [(5, 1, 4)] + [(5, 2, 3)] * 400
    assert watch(SHORT, counts)[-1] == 0.0


def test_any_answer_begins_anew():
    counts = frozen_after(3)
    counts += [(13, 10, 3)] * 5
    found = watch(SHORT, counts)
    assert max(found) >= ENOUGH
    assert found[-1] == 0.0


def test_no_call_in_flight_no_evidence():
    assert set(watch(SHORT, [(look, look, 0) for look in range(100)])) == {0.0}


def test_calls_given_up_without_an_answer_are_not_forgotten():
    counts = []
    for call in range(1, 4):  # one at a time, each given up after 150 ms
        counts += [(call, 0, 1)] * 6 + [(call, 0, 0)]
    assert watch(SHORT, [(0, 0, 0), *counts])[-2] >= ENOUGH


def test_calls_of_5_s_among_those_of_5_ms_raise_no_alarm():
    mixed = measured(*([0.005] * 45 + [5.0] * 5) * 4)
    assert max(watch(mixed, [(1, 1, 0), *[(4, 1, 3)] * 190])) < ENOUGH


def test_a_node_that_is_slow_by_its_curve_has_more_time():
    counts = frozen_after(2, looks=9)
    assert watch(SHORT, counts)[-1] > watch(SHORT, counts, base_s=0.4)[-1]


def test_where_nothing_is_measured_any_call_may_take_a_second():
    for few in (Latencies(), measured(*[0.005] * 3)):
        assert max(watch(few, frozen_after(8, looks=40))) == 0.0
        assert watch(few, frozen_after(8, looks=200))[-1] >= ENOUGH


def test_calls_that_come_at_once_to_a_node_that_was_idle_are_no_silence_yet():
    found = watch(SHORT, [(9, 9, 0)] * 40 + [(17, 9, 8)] * 8)
    assert max(found[:43]) == 0.0
    assert found[-1] >= ENOUGH


def test_a_pause_of_the_client_itself_is_no_silence():
    silence = Silence()
    silence.look(1, 1, 0, 100.0, LOOK_S)
    silence.look(3, 1, 2, 100.025, LOOK_S)
    silence.held_up(5.0)
    silence.look(3, 1, 2, 105.025, 5.0)
    assert silence.evidence(2, 105.025, SHORT, None) == 0.0


def test_old_latencies_are_forgotten():
    latencies = measured(5.0, *[0.04] * 3000)
    assert latencies.nepers(1.0) > measured(*[0.04] * 199, 5.0).nepers(1.0)


@given(
    st.lists(st.floats(1e-6, 1e4), max_size=50),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_the_longer_a_call_takes_the_less_likely_it_is(latencies_s, one_s, other_s):
    made = measured(*latencies_s)
    assert 0.0 <= made.nepers(min(one_s, other_s)) <= made.nepers(max(one_s, other_s))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", ["exponential", "heavy", "mixed"])
def test_nodes_in_order_are_seldom_suspected(seed, draw):
    """One node, Poisson arrivals at 40/s, ten minutes: alarms in less than one look of 500."""
    rng = random.Random(seed)
    service_s = {
        "exponential": lambda: rng.expovariate(25.0),
        "heavy": lambda: 0.02 * rng.paretovariate(1.5),
        "mixed": lambda: 5.0 if rng.random() < 0.05 else 0.005,
    }[draw]
    latencies, silence = Latencies(), Silence()
    now, ends, started, heard, alarms, looks = 0.0, [], 0, 0, 0, 0
    following = rng.expovariate(40.0)
    while looks < 24_000:
        now += LOOK_S
        while following <= now:
            took_s = service_s()
            ends.append((following + took_s, took_s))
            started += 1
            following += rng.expovariate(40.0)
        done = sorted(one for one in ends if one[0] <= now)
        ends = [one for one in ends if one[0] > now]
        heard += len(done)
        if done:
            latencies.add(done[-1][1])
        silence.look(started, heard, len(ends), now, LOOK_S)
        looks += 1
        alarms += silence.evidence(len(ends), now, latencies, None) >= ENOUGH
    assert alarms < looks / 500
    assert LEAST_SILENCE_S > LOOK_S
