"""How long a failed start makes the next one wait."""

import math

from hypothesis import given
from hypothesis import strategies as st

from meshlb.actuators.process.backoff import BackOff


def test_it_doubles_up_to_its_most_and_the_first_never_waits():
    backoff, now, waits = BackOff(1.0, 10.0), 100.0, []
    for _ in range(6):
        waits.append(backoff.wait_s(now))
        now += waits[-1]
        backoff.failed(now, now + 1)
        now += 1
    assert waits == [0, 1, 2, 4, 8, 10]


def test_what_began_before_the_last_failure_counts_with_it():
    backoff = BackOff(1.0, 10.0)
    for ended in (5.0, 5.1, 5.2):
        backoff.failed(1.0, ended)
    assert backoff.count == 1


def test_one_that_ran_well_forgets_failures():
    backoff = BackOff(1.0, 10.0)
    backoff.failed(0.0, 1.0)
    backoff.failed(2.0, 3.0)
    backoff.steady()
    assert backoff.wait_s(3.0) == 0.0


@given(st.integers(0, 3000), st.floats(0.01, 3600), st.floats(1, 100))
def test_no_count_of_failures_breaks_it(count, first_s, factor):
    backoff = BackOff(first_s, first_s * factor)
    for now in range(count):
        backoff.failed(now, now)
    assert 0 <= backoff.wait_s(count) <= first_s * factor
    assert math.isfinite(backoff.wait_s(count))
