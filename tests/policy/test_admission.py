"""Laws of who may begin a call where calls are limited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.model import NodeState
from meshlb.policy import admission

FLOORS = st.lists(st.floats(0, 1), min_size=1, max_size=4).map(
    lambda found: [one / max(1.0, sum(found)) for one in found]
)
LIMITS = st.integers(1, 40)


@st.composite
def crowds(draw):
    """A limit, floors, and a sequence of comings (a class) and goings (None)."""
    floors = draw(FLOORS)
    kinds = st.one_of(st.none(), st.integers(0, len(floors) - 1))
    return draw(LIMITS), floors, draw(st.lists(kinds, max_size=120))


def run(limit, floors, steps):
    """Let calls come, wait and go; yield what runs and waits after each step."""
    running, waiting = [0] * len(floors), [0] * len(floors)
    for at, kind in enumerate(steps):
        if kind is None:
            busy = [k for k, count in enumerate(running) if count]
            if busy:
                running[busy[at % len(busy)]] -= 1
        else:
            waiting[kind] += 1
        while (begins := admission.next_kind(running, waiting, limit, floors)) is not None:
            waiting[begins] -= 1
            running[begins] += 1
        yield running, waiting


@given(crowds())
def test_there_are_never_more_than_the_limit(crowd):
    limit, floors, steps = crowd
    for running, _ in run(limit, floors, steps):
        assert sum(running) <= limit


@given(crowds())
def test_a_class_can_always_use_its_floor(crowd):
    limit, floors, steps = crowd
    kept = admission.reserved(limit, floors)
    for running, waiting in run(limit, floors, steps):
        for kind, count in enumerate(running):
            assert count >= kept[kind] or not waiting[kind]


@given(crowds())
def test_nobody_waits_while_there_is_room_that_is_kept_for_nobody(crowd):
    limit, floors, steps = crowd
    kept = admission.reserved(limit, floors)
    for running, waiting in run(limit, floors, steps):
        if any(waiting):
            assert sum(map(max, running, kept)) == limit


@given(crowds())
def test_nobody_waits_behind_a_less_important_call(crowd):
    limit, floors, steps = crowd
    kept = admission.reserved(limit, floors)
    before = [0] * len(floors)
    for running, waiting in run(limit, floors, steps):
        begun = [k for k, count in enumerate(running) if count > before[k]]
        for kind in begun:
            above = range(kind)
            assert running[kind] <= kept[kind] or not any(waiting[k] for k in above)
        before = list(running)


@given(crowds())
def test_all_begin_once_those_before_them_have_ended(crowd):
    limit, floors, steps = crowd
    ends = [None] * (len(steps) + 1)
    kept = admission.reserved(limit, floors)
    *_, (running, waiting) = run(limit, floors, [*steps, *ends])
    for kind, count in enumerate(waiting):
        others = sum(kept) - kept[kind]
        assert not count or others >= limit, "all of the limit is kept for others"
    assert sum(running) <= limit


@given(FLOORS, st.integers(0, 9), st.data())
def test_who_is_shed_is_never_more_important_than_who_comes(floors, most, data):
    kind = data.draw(st.integers(0, len(floors) - 1))
    waiting = data.draw(st.lists(st.integers(0, 5), min_size=len(floors), max_size=len(floors)))
    shed = admission.shed_kind(kind, waiting, most)
    if sum(waiting) < most:
        assert shed is None
    else:
        assert shed >= kind
        assert shed == kind or waiting[shed]


@pytest.mark.parametrize(
    ("ended_at", "now", "wait_s"),
    [((), 5.0, None), ((4.0,), 5.0, None), ((3.0, 4.0), 5.0, 3.0), ((5.0, 5.0), 5.0, None)],
)
def test_the_wait_follows_from_how_fast_calls_end(ended_at, now, wait_s):
    assert admission.expected_wait_s(2, ended_at, now) == wait_s


@given(
    st.floats(0.5, 1e4),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 1e4), min_size=1),
)
def test_parts_are_the_limit_together_and_fair(limit, demands):
    parts = admission.share_out(limit, demands)
    assert sum(parts.values()) == pytest.approx(limit)
    equal = limit / len(demands)
    for client, part in parts.items():
        assert part >= min(demands[client], equal) - 1e-6
    short = [c for c in demands if parts[c] < demands[c] - 1e-6]
    if short:
        assert max(parts.values()) <= max(parts[c] for c in short) + 1e-6


def test_without_clients_there_are_no_parts():
    assert admission.share_out(10, {}) == {}


@pytest.mark.parametrize(
    ("states", "count"),
    [
        ("active unknown draining unhealthy", 2),
        ("unhealthy unhealthy draining", 2),
        ("draining", 0),
        ("", 0),
    ],
)
def test_nodes_that_are_not_in_order_count_where_there_is_no_other(states, count):
    assert admission.usable(map(NodeState, states.split())) == count
