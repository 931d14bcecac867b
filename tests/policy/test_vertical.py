"""What a node should have, by its use."""

import pytest

from meshlb.model import SpeedCurve
from meshlb.policy.vertical import Has, Histogram, Use, UseHistory


def test_a_quantile_is_right_to_five_percent():
    histogram = Histogram()
    for second in range(1001):
        histogram.add(float(second % 100 + 1), float(second))
    assert histogram.quantile(0.9) == pytest.approx(90, rel=0.06)
    assert histogram.quantile(0.5) == pytest.approx(50, rel=0.06)


def test_old_use_counts_less():
    histogram = Histogram()
    day = 86400
    for minute in range(0, 10 * day, 60):
        histogram.add(16.0 if minute < 7 * day else 2.0, float(minute))
    # three days later seven days of 16 weigh as one of eight
    assert histogram.quantile(0.85) == pytest.approx(2, rel=0.06)


def test_weights_do_not_overflow_over_years():
    histogram = Histogram()
    for day in range(2000):
        histogram.add(4.0, day * 86400.0)
    assert histogram.quantile(0.9) == pytest.approx(4, rel=0.06)


def used(seconds, use):
    history = UseHistory()
    for second in range(seconds):
        history.observe({"a": use}, float(second))
    return history


def test_slots_cores_and_memory_are_use_and_15_percent():
    history = used(400, Use(in_flight=10.0, cpu_cores=2.0, memory_bytes=1e9))

    new, a = history.recommend({"a": Has(slots=32)})

    assert a.node_id == "a"
    assert a.slots in (12, 13)  # 11.5, buckets of 5 % rounded up
    assert a.cpu_cores == pytest.approx(2.3, rel=0.1)
    assert a.memory_bytes == pytest.approx(1.15e9, rel=0.06)
    assert a.current_slots == 32
    assert "15% more" in a.reason
    assert (new.node_id, new.slots, new.current_slots) == ("", a.slots, None)


def test_no_more_slots_than_the_node_keeps_busy():
    history = used(400, Use(in_flight=40.0))
    _, a = history.recommend({"a": Has(slots=16, curve=SpeedCurve(1.0, 1 / 16, 16))})
    assert a.slots == 16
    assert a.cpu_cores is None


def test_too_little_known_recommends_nothing():
    _, a = used(100, Use(in_flight=4.0)).recommend({"a": Has(slots=8)})
    assert (a.slots, a.cpu_cores, a.memory_bytes) == (None, None, None)
    assert a.reason == "fewer than 5 min of use known"
    assert UseHistory().recommend({}) == ()


def test_nodes_that_are_gone_are_forgotten():
    history = used(400, Use(in_flight=4.0))
    history.observe({}, 401.0)
    assert history.recommend({"a": Has()})[1].slots is None
