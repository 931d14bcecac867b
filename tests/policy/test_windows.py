"""Sliding windows of signals."""

import random

import pytest

from meshlb.policy.windows import SignalHistory
from meshlb.scale_model import Reading


def fed(value_at, until, tick=0.1, start=0.0, stable=60.0, panic=6.0, name="in_flight"):
    history = SignalHistory(stable, panic)
    for step in range(round((until - start) / tick) + 1):
        now = start + step * tick
        history.observe({name: value_at(now)}, now)
    return history


def in_flight(now_to_value):
    return lambda now: Reading(now_to_value(now), 2)


def test_a_window_that_has_just_begun_is_a_mean_over_what_there_is():
    history = fed(in_flight(lambda _: 8.0), until=0.0)
    seen = history.seen(0.0).signals["in_flight"]
    assert (seen.stable, seen.panic, seen.last, seen.mean) == (8.0, 8.0, 8.0, 4.0)


def test_the_stable_mean_forgets_after_its_window():
    history = fed(in_flight(lambda now: 10.0 if now < 100 else 0.0), until=130)
    assert history.seen(130.0).signals["in_flight"].stable == pytest.approx(5.0, abs=0.3)
    history = fed(in_flight(lambda now: 10.0 if now < 100 else 0.0), until=162)
    assert history.seen(162.0).signals["in_flight"].stable == 0.0


def test_the_panic_mean_sees_a_step_within_a_second():
    history = fed(in_flight(lambda now: 0.0 if now < 100 else 10.0), until=100.7)
    assert history.seen(100.7).signals["in_flight"].panic >= 2.0
    history = fed(in_flight(lambda now: 0.0 if now < 100 else 10.0), until=106.6)
    assert history.seen(106.6).signals["in_flight"].panic == pytest.approx(10.0)


@pytest.mark.parametrize("tick", [0.05, 0.1, 1.0, 3.0])
def test_ticks_of_any_length_give_the_same_means(tick):
    history = fed(in_flight(lambda now: now % 20), until=300, tick=tick)
    assert history.seen(300.0).signals["in_flight"].stable == pytest.approx(9.5, abs=1.5)


def test_a_signal_without_readings_fades_to_unknown_not_to_zero():
    history = fed(in_flight(lambda _: 8.0), until=30)
    history.observe({}, 31.0)
    seen = history.seen(31.0).signals["in_flight"]
    assert (seen.stable, seen.last) == (pytest.approx(8.0), None)
    seen = history.seen(100.0).signals["in_flight"]
    assert (seen.stable, seen.panic, seen.mean) == (None, None, None)


def test_silent_nodes_count_like_the_mean_of_the_others():
    history = fed(lambda _: Reading(6.0, 3, 1), until=10)
    seen = history.seen(10.0).signals["in_flight"]
    assert (seen.stable, seen.mean, seen.missing) == (pytest.approx(8.0), pytest.approx(2.0), 1)


def test_latencies_are_means_already():
    history = fed(lambda _: Reading(0.5, 4, 2), until=10, name="response_time")
    seen = history.seen(10.0).signals["response_time"]
    assert (seen.stable, seen.mean) == (pytest.approx(0.5), pytest.approx(0.5))


def test_figures_that_are_not_finite_are_not_measured():
    history = fed(lambda _: Reading(float("nan"), 4), until=10)
    assert history.seen(10.0).signals["in_flight"].stable is None


def test_growth_is_the_slope_where_it_is_clear():
    rising = fed(in_flight(lambda now: 10 + 0.5 * now), until=90)
    assert rising.seen(90.0).growth["in_flight"] == pytest.approx(0.5, rel=0.02)
    rng = random.Random(1)
    flat = fed(in_flight(lambda _: rng.uniform(5, 15)), until=90)
    assert flat.seen(90.0).growth["in_flight"] == 0.0
    young = fed(in_flight(lambda now: 10 + 0.5 * now), until=10)
    assert "in_flight" not in young.seen(10.0).growth


def test_variance_is_that_of_the_totals():
    history = fed(in_flight(lambda now: 10.0 if int(now * 10) % 2 else 20.0), until=90)
    assert history.seen(90.0).variance["in_flight"] == pytest.approx(25.0, rel=0.1)
