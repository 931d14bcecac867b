"""Time served by Little's law."""

import pytest

from meshlb.policy.service_time import ServiceTime
from meshlb.scale_model import Reading


def readings(in_flight, rate, queued=None, nodes=4):
    told = {"in_flight": Reading(in_flight, nodes), "rate": Reading(rate, nodes)}
    if queued is not None:
        told["queued"] = Reading(queued, nodes)
    return told


def after(seconds, **told):
    learned = ServiceTime()
    for at in range(seconds + 1):
        learned.observe(readings(**told), float(at))
    return learned


def test_it_is_calls_served_by_calls_a_second():
    learned = after(100, in_flight=60.0, rate=10.0, queued=20.0)

    assert learned.seconds() == pytest.approx(4.0)
    assert learned.a_node() == pytest.approx(10.0)


def test_it_is_told_from_a_minute_on_and_not_without_calls():
    assert after(59, in_flight=60.0, rate=10.0).seconds() is None
    assert after(60, in_flight=60.0, rate=10.0).seconds() == pytest.approx(6.0)
    assert after(100, in_flight=0.0, rate=0.0).seconds() is None


def test_what_is_older_than_the_window_is_forgotten():
    learned = after(100, in_flight=60.0, rate=10.0)
    for at in range(101, 800):
        learned.observe(readings(20.0, 10.0), float(at))

    assert learned.seconds() == pytest.approx(2.0)


def test_gaps_and_missing_counts_tell_nothing():
    learned = after(100, in_flight=60.0, rate=10.0)
    learned.observe(readings(None, 10.0), 101.0)
    learned.observe({"in_flight": Reading(9.0, 4)}, 102.0)
    learned.observe(readings(1000.0, 10.0), 190.0)

    assert learned.seconds() == pytest.approx(6.0)
