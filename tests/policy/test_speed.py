"""What a learner makes of the flow of calls through a node."""

import random

import pytest

from meshlb.model import LatencyBucket
from meshlb.policy import curve_fit
from meshlb.policy.speed import SpeedLearner


def flow(learner, service_s, slots, occupancies, start=0.0, interval_s=0.1, rng=None):
    """Feed what a node of so many slots does at these occupancies; return the end."""
    now = start
    rng = rng or random.Random(1)
    for occupancy in occupancies:
        now += interval_s
        rate = min(occupancy, slots) / service_s
        ended = sum(rng.random() < rate * interval_s / 50 for _ in range(50))
        learner.observe_flow(occupancy, occupancy * interval_s, ended, now)
    return now


def mixed(rng, count, most):
    return [rng.uniform(0.2, most) for _ in range(count)]


def test_nothing_is_known_before_there_are_calls_enough():
    learner = SpeedLearner()
    learner.observe_flow(1.0, 0.1, 2, 0.1)

    assert learner.curve(0.1, None) is None
    assert learner.curve(0.1, 4) is None


@pytest.mark.parametrize("service_s", [0.04, 0.16])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_with_declared_slots_speed_and_capacity_are_found(service_s, slots):
    rng, learner = random.Random(slots), SpeedLearner()
    now = flow(learner, service_s, slots, mixed(rng, 600, 2 * slots), rng=rng)
    curve = learner.curve(now, slots)

    assert curve.base_s == pytest.approx(service_s, rel=0.15)
    assert 1 / curve.slope_s == pytest.approx(slots / service_s, rel=0.15)


def test_without_declared_slots_capacity_is_found_from_a_busy_node():
    rng, learner = random.Random(3), SpeedLearner()
    now = flow(learner, 0.04, 4, mixed(rng, 600, 12), rng=rng)
    curve = learner.curve(now, None)

    assert 1 / curve.slope_s == pytest.approx(100, rel=0.2)
    assert curve.latency_s(0) == pytest.approx(0.04, rel=0.4)
    assert curve.latency_s(11) == pytest.approx(0.12, rel=0.2)


def test_a_busy_node_is_not_taken_for_a_slow_one():
    rng = random.Random(5)
    busy, calm = SpeedLearner(), SpeedLearner()
    flow(busy, 0.04, 4, [rng.uniform(6, 12) for _ in range(300)], rng=rng)
    now = flow(calm, 0.04, 4, [rng.uniform(0.5, 3) for _ in range(300)], rng=rng)

    assert 1 / busy.curve(now, 4).slope_s == pytest.approx(1 / calm.curve(now, 4).slope_s, rel=0.2)


def test_a_changed_speed_is_learned_in_half_a_minute():
    rng, learner = random.Random(7), SpeedLearner()
    now = flow(learner, 0.16, 4, mixed(rng, 300, 6), rng=rng)
    assert learner.curve(now, 4).base_s == pytest.approx(0.16, rel=0.2)

    now = flow(learner, 0.04, 4, mixed(rng, 300, 6), start=now, rng=rng)
    assert learner.curve(now, 4).base_s == pytest.approx(0.04, rel=0.35)


def test_calls_from_elsewhere_make_a_node_busy_but_not_slow():
    rng, learner = random.Random(9), SpeedLearner()
    now = 0.0
    for _ in range(600):
        now += 0.1
        ours, theirs = rng.uniform(0.2, 4), 4.0
        rate = ours / (0.04 * max(1.0, (ours + theirs) / 4))
        ended = sum(rng.random() < rate * 0.1 / 50 for _ in range(50))
        learner.observe_flow(ours, ours * 0.1, ended, now, beside=theirs)

    assert 1 / learner.curve(now, 4).slope_s == pytest.approx(100, rel=0.25)


def test_a_servers_own_latencies_are_enough_without_flow():
    learner = SpeedLearner()
    for second in range(60):
        learner.observe(
            [LatencyBucket(0, 5, 5 * 0.04), LatencyBucket(7, 5, 5 * 0.08)], float(second)
        )

    curve = learner.curve(59.0, 4)
    assert curve.latency_s(0) == pytest.approx(0.04, rel=0.1)
    assert curve.latency_s(7) == pytest.approx(0.08, rel=0.1)


def test_a_node_that_nobody_calls_keeps_its_curve_for_a_while():
    rng, learner = random.Random(1), SpeedLearner()
    now = flow(learner, 0.04, 4, mixed(rng, 200, 6), rng=rng)
    for second in range(120):
        learner.observe_flow(0.0, 0.0, 0, now + second)

    assert learner.curve(now + 120, 4) is not None
    assert learner.curve(now + 1000, 4) is None


def test_rubbish_is_left_out():
    learner = SpeedLearner()
    learner.observe([LatencyBucket(0, 100, float("nan")), LatencyBucket(0, 0, 5.0)], 1.0)

    assert learner.curve(1.0, None) is None


@pytest.mark.parametrize("slots", [None, 4])
def test_what_delays_all_calls_alike_is_not_taken_for_endless_capacity(slots):
    # A client short of CPU adds a second to each call: 20 calls/s are 20 in flight, 40 are 40.
    rng, learner, now = random.Random(1), SpeedLearner(), 0.0
    for _ in range(600):
        now += 0.1
        rate = rng.uniform(10, 60)
        learner.observe_flow(rate * 1.0, rate * 0.1, round(rate * 0.1), now)

    assert 1 / learner.curve(now, slots).slope_s < 2 * 60 + 10


@pytest.mark.parametrize("slots", [None, 4])
def test_curves_that_cannot_win_are_not_tried_and_change_nothing(slots, monkeypatch):
    rng = random.Random(11)
    cases = []
    for _ in range(300):
        calls = [rng.uniform(0.1, 50) for _ in range(rng.randrange(1, 9))]
        slope = rng.choice((0.0, 0.02, 0.2))
        cases.append(
            [
                (found, n, n * (0.04 + slope * max(0, found - 2)) * rng.uniform(0.3, 1.7))
                for found, n in enumerate(calls)
            ]
        )
    quick = [curve_fit.fit(points, slots) for points in cases]
    monkeypatch.setattr(curve_fit, "_least_loss", lambda _: -float("inf"))

    assert quick == [curve_fit.fit(points, slots) for points in cases]
