"""How long an attempt of a stream may let its reader wait; times are given."""

from types import SimpleNamespace

import pytest

from meshlb.client.budget import RetryBudget
from meshlb.client.patience import DEAF_S, GRACE_S, Patience


def method(choices=3, tokens=True, idle_s=None):
    budget = RetryBudget()
    budget.has_room = lambda started, now: tokens
    routes = SimpleNamespace(budget=budget, started=0)
    return SimpleNamespace(idle_s=idle_s, routes=routes, view=SimpleNamespace(choices=choices))


def patience(first_s=None, since=None, came=False):
    made = Patience(first_s)
    made.since, made.came = since, came
    return made


def test_the_first_message_has_the_limit_of_an_attempt():
    waits = patience(1.0, since=10.0)
    assert waits.left_s(10.25, method(), 0) == 0.75
    assert waits.left_s(11.0, method(), 0) == 0.0
    assert patience(None, since=10.0).left_s(99.0, method(idle_s=1.0), 0) is None


def test_the_next_ones_have_the_idle_time():
    waits = patience(1.0, since=10.0, came=True)
    assert waits.left_s(12.0, method(idle_s=4.0), 0) == 2.0
    assert waits.left_s(14.0, method(idle_s=4.0), 0) == 0.0
    assert waits.left_s(14.0, method(), 0) is None


def test_while_nobody_waits_the_time_does_not_run():
    assert patience(1.0).left_s(99.0, method(), 0) == 1.0


@pytest.mark.parametrize("how", [{"choices": 1}, {"tokens": False}])
def test_a_stream_that_nothing_could_take_up_goes_on(how):
    waits = patience(since=10.0, came=True)
    assert waits.left_s(14.0, method(idle_s=4.0, **how), 0) == 4.0


def test_a_look_that_was_held_up_gives_the_message_time_to_come_in():
    waits = patience(1.0, since=10.0)
    late = 11.0 + 2 * DEAF_S
    assert waits.left_s(late, method(), 0) == GRACE_S
    assert waits.left_s(late + GRACE_S, method(), 0) == 0.0
