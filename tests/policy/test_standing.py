"""What a client thinks of a node, by time tables."""

import random

import pytest

from meshlb.policy.overdue import ENOUGH
from meshlb.policy.standing import FAILED_IN_A_ROW, MOST_S, OUTRUN_IN_A_ROW, TRUSTED_AT, Standing


class Mean:
    """No jitter."""

    def uniform(self, least, most):
        return (least + most) / 2


def fail(standing, now, good=0, times=FAILED_IN_A_ROW):
    return [standing.failed(good, now, Mean()) for _ in range(times)]


def look(standing, now, good=0, heard=False, in_flight=0, nepers=0.0):
    return standing.look(good, heard, in_flight, nepers, now, Mean())


def run_trial(standing, now, good=0):
    looks = 0
    while standing.most is not None:
        good, looks = good + 1, looks + 1
        look(standing, now, good=good)
    return looks


class TestFailures:
    def test_five_in_a_row(self):
        standing = Standing()
        assert fail(standing, 10.0) == [False] * 4 + [True]
        assert standing.shut
        assert "5 calls failed" in standing.reason

    def test_one_that_ended_well_between_begins_anew(self):
        standing = Standing()
        fail(standing, 10.0, good=3, times=4)
        assert fail(standing, 10.0, good=4, times=4) == [False] * 4
        assert not standing.shut

    def test_it_is_tried_again_with_one_call_and_one_failure_shuts_it_for_twice_as_long(self):
        standing, now, spans = Standing(), 10.0, []
        fail(standing, now)
        for _ in range(7):
            span = next(s / 2 for s in range(1, 100) if look(standing, now + s / 2, in_flight=3))
            spans.append(span)
            assert (standing.shut, standing.most) == (False, 4)
            now += span
            assert fail(standing, now, times=1) == [True]
        assert spans == [1, 2, 4, 8, 16, MOST_S, MOST_S]

    def test_on_trial_it_gets_more_with_each_look_at_which_calls_ended_well(self):
        standing = Standing()
        fail(standing, 0.0)
        look(standing, 1.0)
        allowed, good = [standing.most], 0
        while standing.most is not None:
            good += 1
            look(standing, 1.0, good=good)
            allowed.append(standing.most)
        assert allowed == [1, 2, 4, 8, None]
        assert TRUSTED_AT == 16
        assert standing.plain

    def test_without_a_good_answer_the_trial_goes_on(self):
        standing = Standing()
        fail(standing, 0.0)
        look(standing, 1.0)
        assert not look(standing, 100.0)
        assert standing.most == 1

    def test_after_a_calm_time_it_begins_at_a_second_again(self):
        standing = Standing()
        fail(standing, 0.0)
        look(standing, 1.0)
        fail(standing, 1.0, times=1)
        look(standing, 3.0)
        run_trial(standing, 3.0)
        fail(standing, 100.0, good=99)
        assert not look(standing, 100.9)
        assert look(standing, 101.0)

    def test_jitter_spreads_clients(self):
        rng = random.Random(1)
        back = set()
        for _ in range(20):
            standing = Standing()
            for _ in range(FAILED_IN_A_ROW):
                standing.failed(0, 0.0, rng)
            back.add(next(t for t in range(1200) if standing.look(0, False, 0, 0.0, t / 1e3, rng)))
        assert len(back) > 10
        assert min(back) >= 800


class TestSilence:
    def test_evidence_shuts_it_and_any_answer_opens_it(self):
        standing = Standing()
        assert not look(standing, 1.0, nepers=ENOUGH - 0.1, in_flight=3)
        assert look(standing, 1.0, nepers=ENOUGH, in_flight=3)
        assert standing.silent
        assert not look(standing, 100.0, in_flight=3)  # time alone does not
        assert look(standing, 100.0, heard=True, in_flight=2)
        assert standing.plain

    def test_a_probe_that_is_answered_puts_it_on_trial(self):
        standing = Standing()
        look(standing, 1.0, nepers=ENOUGH, in_flight=3)
        assert standing.probed(3, 1.0)
        assert standing.most == 4
        assert run_trial(standing, 1.1) == 4

    def test_silent_again_on_trial_it_waits_before_the_next(self):
        standing = Standing()
        look(standing, 1.0, nepers=ENOUGH)
        standing.probed(0, 1.0)
        assert look(standing, 1.2, nepers=ENOUGH / 2)
        assert not standing.probed(0, 1.3)
        assert standing.probed(0, 10.0)

    def test_one_that_stops_and_goes_on_is_left_alone_for_longer_each_time(self):
        standing, now, spans = Standing(), 10.0, []
        for _ in range(5):
            assert look(standing, now, nepers=ENOUGH)
            span = next(s / 4 for s in range(1, 100) if look(standing, now + s / 4, heard=True))
            spans.append(span)
            assert standing.plain
            now += span + 0.5
        assert spans == [0.25, 2, 4, 8, 16]

    def test_false_alarms_count_for_nothing(self):
        standing = Standing()
        for alarm in range(10):
            now = 10.0 + alarm
            assert look(standing, now, nepers=ENOUGH)
            assert standing.probed(0, now + 0.01)
            run_trial(standing, now + 0.1)

    def test_three_in_a_row_that_others_answered_first(self):
        standing = Standing()
        assert [standing.outrun(0, 1.0, Mean()) for _ in range(OUTRUN_IN_A_ROW)] == [
            False, False, True,
        ]  # fmt: skip
        assert not standing.probed(0, 1.5)
        assert standing.probed(0, 2.0)
        assert standing.outrun(0, 2.0, Mean())  # on trial one is enough

    def test_failures_of_a_silent_node_change_nothing(self):
        standing = Standing()
        look(standing, 1.0, nepers=ENOUGH)
        assert fail(standing, 3.0) == [False] * FAILED_IN_A_ROW
        assert standing.silent


def test_a_node_that_the_controller_gives_back_is_on_trial_unless_it_is_shut_here():
    standing = Standing()
    assert standing.returned(0, 2)
    assert standing.most == 3
    shut = Standing()
    fail(shut, 1.0)
    assert not shut.returned(0, 0)
    assert shut.shut


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happened_good_answers_bring_it_back(seed):
    rng = random.Random(seed)
    standing, now, good = Standing(), 0.0, 0
    for _ in range(200):
        now += rng.random()
        in_flight = rng.randrange(5)
        what = rng.randrange(6)
        if what == 0:
            standing.failed(good, now, rng)
        elif what == 1:
            standing.outrun(good, now, rng)
        elif what == 2:
            standing.look(good, False, in_flight, 20 * rng.random(), now, rng)
        elif what == 3:
            standing.probed(in_flight, now)
        elif what == 4:
            standing.outlying("it fails", now, rng)
        else:
            good += 1
            standing.look(good, True, in_flight, 0.0, now, rng)
        assert not (standing.shut and standing.most is not None)
        assert standing.plain == (standing.reason == "")
    for _ in range(10):
        now += MOST_S + 10
        good += 1
        standing.look(good, True, 0, 0.0, now, rng)
    assert standing.plain
