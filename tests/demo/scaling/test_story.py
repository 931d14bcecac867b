"""What the scaling act tells of its nodes, and what it counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.demo.scaling import meter
from examples.demo.scaling.story import Node, Story

COURSE = [(0.0, 1), (10.0, 4), (20.0, 2)]


def told(story, at_s, **states):
    nodes = [Node(replica_id, state, "why", 3.0) for replica_id, state in states.items()]
    return [(event.kind, event.text) for event in story.take(nodes, at_s)]


def test_a_node_from_its_order_to_its_end():
    story = Story()
    assert told(story, 1.0, a="starting") == [("ordered", "node-1 ordered")]
    assert told(story, 1.5, a="starting") == []
    assert told(story, 3.0, a="ready") == [("ready", "node-1 ready after 2.0 s")]
    assert told(story, 5.0, a="draining") == [("withdrawn", "node-1 withdrawn, 3 in flight")]
    assert told(story, 6.0, a="ready") == [("restored", "node-1 takes calls again")]
    assert told(story, 7.0, a="draining") == [("withdrawn", "node-1 withdrawn, 3 in flight")]
    assert told(story, 8.0, a="stopping") == [("drained", "node-1 drained, is stopped")]
    assert told(story, 9.0) == [("stopped", "node-1 stopped")]
    assert story.counts["withdrawn"] == 2


def test_a_killed_node_is_replaced():
    story = Story()
    told(story, 0.0, a="ready", b="ready")
    assert story.kill("a").text == "node-1 killed (SIGKILL)"
    assert told(story, 1.0, a="lost", b="ready") == []
    assert told(story, 2.0, a="lost", b="ready", c="starting") == [
        ("ordered", "node-3 ordered for node-1")
    ]
    assert told(story, 3.0, b="ready", c="ready") == [
        ("ready", "node-3 ready after 1.0 s"),
        ("replaced", "node-1 replaced by node-3"),
    ]
    assert story.was_killed("a")
    assert not story.was_killed("b")
    assert (story.counts["killed"], story.counts["replaced"]) == (1, 1)


def test_loss_and_order_seen_at_once_belong_together():
    story = Story()
    told(story, 0.0, a="ready")
    assert told(story, 1.0, b="starting", a="lost") == [
        ("lost", "node-1 lost: why"),
        ("ordered", "node-2 ordered for node-1"),
    ]


def test_steps_that_nobody_saw_are_told_all_the_same():
    story = Story()
    told(story, 0.0, a="draining", b="starting")
    assert told(story, 1.0, b="stopping") == [
        ("called off", "node-2 called off before it was ready"),
        ("drained", "node-1 drained"),
        ("stopped", "node-1 stopped"),
    ]


@pytest.mark.parametrize(
    ("since_s", "until_s", "expected"), [(0, 30, 70), (5, 15, 25), (25, 40, 30), (40, 30, 0)]
)
def test_node_seconds(since_s, until_s, expected):
    assert meter.total(COURSE, since_s, until_s) == expected


def test_what_a_count_mostly_was():
    assert meter.typical(COURSE, [(0, 12)]) == 1
    assert meter.typical(COURSE, [(10, 20)]) == 4
    assert meter.typical(COURSE, [(8, 12), (19, 40)]) == 2
    assert meter.typical([], [(0, 10)]) is None
    assert meter.typical(COURSE, []) is None


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_only_changes_are_kept_and_the_sum_stays(counts):
    course = []
    for at_s, count in enumerate(counts):
        assert meter.add(course, float(at_s), count) == (at_s == 0 or counts[at_s - 1] != count)
    assert meter.total(course, 0, len(counts)) == sum(counts)
