"""What a server counts of itself: laws, and the queue for slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.errors import InvalidInputError
from meshlb.orca import LoadRecorder, keys


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_counts_stay_right_whatever_begins_and_ends(steps):
    recorder, running, begun, ended = LoadRecorder(), [], 0, 0
    for now, (begins, which) in enumerate(steps):
        if begins:
            running.append(recorder.begin(float(now)))
            begun += 1
        elif running:
            ticket = running.pop(which % len(running))
            ticket.end(which % 3 > 0, float(now))
            ticket.end(True, float(now))  # a second end counts for nothing
            ended += 1
        seen = recorder.snapshot(float(now))
        assert seen.in_flight == begun - ended == len(running)
        assert seen.succeeded + seen.failed == ended
        assert sum(count for count, _ in seen.latency.values()) == seen.succeeded


def test_a_call_that_slots_do_not_bind_gives_none_away():
    recorder = LoadRecorder(slots=1)
    recorder.begin(0.0, lambda: None)
    waiting = recorder.begin(0.0, lambda: None)

    recorder.begin(0.0).end(True, 1.0)

    assert not waiting.admitted


@given(st.integers(1, 4), st.lists(st.integers(0, 5), max_size=50))
def test_no_more_than_the_slots_run_and_the_rest_in_order(slots, steps):
    recorder, order, admitted, tickets = LoadRecorder(slots=slots), [], [], []
    for number, step in enumerate(steps):
        if step > 1 or not tickets:
            ticket = recorder.begin(0.0, lambda n=number: admitted.append(n))
            tickets.append((number, ticket))
            if not ticket.admitted:
                order.append(number)
        else:
            ended, ticket = tickets.pop(0 if step else -1)
            if ended in order and ended not in admitted:
                order.remove(ended)  # it gave up before its turn
            ticket.end(True, 0.0)
        assert sum(ticket.admitted for _, ticket in tickets) == min(slots, len(tickets))
        assert admitted == order[: len(admitted)]
    assert recorder.snapshot(0.0).queued == len(tickets) - min(slots, len(tickets))


def test_latency_is_kept_by_the_occupancy_found():
    recorder = LoadRecorder()
    first, second = recorder.begin(0.0), recorder.begin(1.0)
    first.end(True, 2.0)
    second.end(True, 4.0)

    assert recorder.snapshot(4.0).latency == {0: (1, 2.0), 1: (1, 3.0)}


def test_a_full_queue_refuses_and_counts_nothing():
    recorder = LoadRecorder(slots=1, max_queued=1)
    kept = [recorder.begin(0.0, lambda: None) for _ in range(2)]

    assert recorder.begin(0.0, lambda: None) is None
    assert recorder.snapshot(0.0).in_flight == 2
    assert [ticket.admitted for ticket in kept] == [True, False]


def test_rates_are_of_the_last_ten_seconds():
    recorder = LoadRecorder()
    for second in range(20):
        recorder.begin(float(second)).end(second % 2 == 0, float(second))

    seen = recorder.snapshot(19.0)
    assert seen.requests_per_s == pytest.approx(1.1)
    assert seen.errors_per_s == pytest.approx(0.6)
    assert recorder.snapshot(100.0).requests_per_s == 0


def test_tokens_and_first_tokens_are_unknown_until_told():
    recorder = LoadRecorder()
    ticket = recorder.begin(10.0)
    assert recorder.snapshot(10.0).tokens_out is None
    assert recorder.snapshot(10.0).time_to_first_token_s is None

    ticket.add_tokens(taken_in=100, generated=1)
    ticket.first_token(10.5)
    ticket.first_token(11.0)  # only the first one is
    ticket.add_tokens(generated=4)

    seen = recorder.snapshot(11.0)
    assert (seen.tokens_in, seen.tokens_out, seen.time_to_first_token_s) == (100, 5, 0.5)


def test_named_metrics_use_the_documented_keys_and_leave_out_what_is_unknown():
    recorder = LoadRecorder(slots=4)
    recorder.begin(0.0).end(True, 0.25)
    recorder.set_metric("queue.depth", 7)

    named = recorder.snapshot(1.0).named_metrics()

    assert named[keys.SLOTS] == 4
    assert named[keys.SUCCEEDED] == 1
    assert named[f"{keys.LATENCY_COUNT}0"] == 1
    assert named[f"{keys.LATENCY_SUM_S}0"] == 0.25
    assert named["queue.depth"] == 7
    assert keys.TOKENS_OUT not in named


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LoadRecorder(slots=0),
        lambda: LoadRecorder(max_queued=3),
        lambda: LoadRecorder(slots=1, max_queued=-1),
        lambda: LoadRecorder().set_utilization(float("nan")),
        lambda: LoadRecorder().set_utilization(-1),
        lambda: LoadRecorder().set_metric("meshlb.mine", 1),
        lambda: LoadRecorder().set_metric("x", float("inf")),
        lambda: LoadRecorder().begin(0.0).add_tokens(generated=-1),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        wrong()
