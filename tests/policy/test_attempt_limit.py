"""How long an attempt may take before another node is asked."""

import pytest

from meshlb.policy.attempt_limit import LEAST_S, TIMES_P95, AttemptLimit
from meshlb.policy.hedge_delay import LEAST_KNOWN


def limit_of(*latencies_s, fixed_s=None):
    limit = AttemptLimit(fixed_s)
    limit.seconds()
    for latency_s in latencies_s:
        limit.observe(latency_s)
    return limit.seconds()


def test_nothing_is_cut_short_while_little_is_known():
    assert limit_of() is None
    assert limit_of(*[0.1] * (LEAST_KNOWN - 1)) is None


def test_it_is_a_multiple_of_what_calls_mostly_take():
    assert limit_of(*[0.2] * LEAST_KNOWN) == pytest.approx(TIMES_P95 * 0.2)


def test_short_calls_have_time_for_a_pause_of_their_server():
    assert limit_of(*[1e-5] * LEAST_KNOWN) == LEAST_S


@pytest.mark.parametrize(
    ("left_s", "seconds"), [(None, 0.8), (9.0, 0.8), (1.2, 0.6), (0.9, 0.45), (0.5, 0.4)]
)
def test_a_call_with_little_time_left_keeps_half_of_it_for_the_next(left_s, seconds):
    limit = AttemptLimit()
    limit.seconds()
    for _ in range(LEAST_KNOWN):
        limit.observe(0.2)
    assert limit.seconds(left_s) == pytest.approx(seconds)


def test_what_is_set_holds_and_zero_is_any_time():
    assert limit_of(*[9.0] * 100, fixed_s=0.3) == 0.3
    assert limit_of(*[9.0] * 100, fixed_s=0.0) is None


def test_where_nobody_asks_nothing_is_kept():
    limit = AttemptLimit()
    for _ in range(LEAST_KNOWN):
        limit.observe(0.2)
    assert limit.seconds() is None
