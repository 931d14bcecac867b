"""How long an attempt of a stream may let its reader wait; times are given."""

from types import SimpleNamespace

import pytest

from meshlb.client.budget import RetryBudget
from meshlb.client.patience import DEAF_S, GRACE_S, Patience


def method(other=True, tokens=True, idle_s=None, idle_set=True):
    budget = RetryBudget()
    budget.has_room = lambda started, now: tokens
    return SimpleNamespace(
        idle_s=idle_s,
        idle_set=idle_set,
        routes=SimpleNamespace(budget=budget, started=0),
        view=SimpleNamespace(has_other=lambda node: other),
    )


def node(silent=False):
    return SimpleNamespace(standing=SimpleNamespace(silent=silent))


def patience(first_s=None, since=None, came=False):
    made = Patience(first_s)
    made.since, made.came = since, came
    return made


def test_the_first_message_has_the_limit_of_an_attempt():
    waits = patience(1.0, since=10.0)
    assert waits.left_s(10.25, method(), 0, node()) == 0.75
    assert waits.left_s(11.0, method(), 0, node()) == 0.0
    assert patience(None, since=10.0).left_s(99.0, method(idle_s=1.0), 0, node()) is None


def test_the_next_ones_have_the_idle_time():
    waits = patience(1.0, since=10.0, came=True)
    assert waits.left_s(12.0, method(idle_s=4.0), 0, node()) == 2.0
    assert waits.left_s(14.0, method(idle_s=4.0), 0, node()) == 0.0
    assert waits.left_s(14.0, method(), 0, node()) is None


def test_while_nobody_waits_the_time_does_not_run():
    assert patience(1.0).left_s(99.0, method(), 0, node()) == 1.0


@pytest.mark.parametrize("how", [{"other": False}, {"tokens": False}])
def test_a_stream_that_nothing_could_take_up_goes_on(how):
    waits = patience(since=10.0, came=True)
    assert waits.left_s(14.0, method(idle_s=4.0, **how), 0, node()) == 4.0


def test_a_look_that_was_held_up_gives_the_message_time_to_come_in():
    waits = patience(1.0, since=10.0)
    late = 11.0 + 2 * DEAF_S
    assert waits.left_s(late, method(), 0, node()) == GRACE_S
    assert waits.left_s(late + GRACE_S, method(), 0, node()) == 0.0


def test_if_no_time_is_set_a_stream_leaves_a_node_that_answers_nobody():
    waits = patience(since=10.0, came=True)
    unset = method(idle_s=1.0, idle_set=False)
    assert waits.left_s(11.0, unset, 0, node()) == 1.0
    assert waits.left_s(11.0, unset, 0, node(silent=True)) == 0.0
    assert waits.left_s(10.5, unset, 0, node(silent=True)) == 0.5
