"""When a call is asked of another node too."""

import pytest

from meshlb.policy.hedge_delay import KEPT, LEAST_KNOWN, LEAST_S, HedgeDelay


def seen(*latencies_s, fixed_s=None):
    delay = HedgeDelay(fixed_s)
    for latency_s in latencies_s:
        delay.observe(latency_s)
    return delay.seconds()


def test_nothing_is_asked_twice_while_little_is_known():
    assert seen() is None
    assert seen(*[0.1] * (LEAST_KNOWN - 1)) is None
    assert seen(*[0.1] * LEAST_KNOWN) == pytest.approx(0.1)


def test_it_is_the_95th_percentile_of_the_newest():
    assert seen(*[n / 1000 for n in range(1, 101)]) == pytest.approx(0.096)
    assert seen(*[9.0] * 500, *[0.05] * KEPT) == pytest.approx(0.05)


def test_one_of_very_short_calls_waits_a_little_all_the_same():
    assert seen(*[1e-6] * 40) == LEAST_S


def test_a_delay_that_is_set_is_always_that():
    assert seen(fixed_s=0.3) == 0.3
    assert seen(*[9.0] * 100, fixed_s=0.3) == 0.3
