"""A controller that was frozen, and what it makes of all that queued up meanwhile."""

import pytest

from meshlb.model import CallReport, NodeCalls
from tests.policy.fleets import START, fleet, observe, report


def test_what_queued_up_while_the_controller_was_frozen_teaches_no_wrong_speed():
    """Reports of 6 s come in no time; each is of 100 ms all the same."""
    made = fleet()
    now, told, spent_s = START, 0, 0.0
    made.subscribe("s", "client", now)

    def tell(at):
        nonlocal told, spent_s
        told += 1
        busy = (5, 10, 20)[told // 20 % 3]  # 100 calls/s whatever is in flight
        spent_s += 0.1 * busy
        calls = NodeCalls("a", busy, 10 * told + busy, 10 * told, 0, 0, spent_s)
        made.observe_calls(CallReport("s", "client", told, (calls,)), at)

    def run(steps):
        nonlocal now
        for _ in range(steps):
            now += 0.1
            observe(made, report(), now)
            tell(now)
            made.decide(now)

    def knows():
        curve = made.service("s").nodes["a"].learner.curve(now, None)
        return [curve.latency_s(others) for others in (4, 9, 19)]

    run(600)
    before, rate = knows(), made.service("s").flow.rate
    now += 6
    made.decide(now)
    for number in range(60):
        tell(now + 0.01 * number)
        made.decide(now + 0.01 * number)
    now += 0.6
    run(1)
    assert knows() == pytest.approx(before, rel=0.1)
    run(59)
    assert knows() == pytest.approx(before, rel=0.1)
    assert made.service("s").flow.rate == pytest.approx(rate, rel=0.05)
