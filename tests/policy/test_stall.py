"""A node that answers nothing is left alone for a while, by a time table."""

from meshlb.policy.stall import IN_A_ROW, Stall


def lose(stall, now, succeeded=0, times=IN_A_ROW):
    return [stall.outrun(succeeded, now) for _ in range(times)]


def test_three_in_a_row_that_others_answered_first():
    stall = Stall()
    assert lose(stall, 10.0) == [False, False, True]
    assert stall.stalled


def test_a_call_that_ended_well_there_between_begins_anew():
    stall = Stall()
    assert lose(stall, 10.0, succeeded=7, times=2) == [False, False]
    assert lose(stall, 10.1, succeeded=8, times=2) == [False, False]
    assert not stall.stalled
    assert stall.outrun(8, 10.2)


def test_more_of_the_same_while_it_is_left_alone_change_nothing():
    stall = Stall()
    lose(stall, 10.0)
    assert lose(stall, 10.5) == [False, False, False]
    assert not stall.look(10.9)
    assert stall.look(11.0)


def test_the_time_doubles_to_ten_seconds_until_it_answers_and_one_more_loss_is_enough():
    stall = Stall()
    lose(stall, 0.0)
    now, spans = 0.0, []
    for _ in range(6):
        span = next(s / 2 for s in range(1, 41) if stall.look(now + s / 2))
        spans.append(span)
        assert not stall.stalled
        now += span
        assert stall.outrun(0, now)
    assert spans == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]

    assert stall.look(now + 10.0)
    assert lose(stall, now + 11, succeeded=1) == [False, False, True]
    assert stall.look(now + 12)
