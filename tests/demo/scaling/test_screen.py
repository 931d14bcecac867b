"""The scaling act's screen: drawn at any size, with nothing known yet and in the midst of it."""

import io
import json

import pytest
from rich.console import Console

from examples.demo.options import parse
from examples.demo.scaling import screen
from examples.demo.scaling.chart import buckets, chart
from examples.demo.scaling.follow import refresh, take
from examples.demo.scaling.profile import profile
from examples.demo.scaling.state import Act, Moment
from examples.demo.scaling.story import Node
from examples.demo.show import Plain
from examples.demo.tally import Ended
from examples.demo.workload import Mix
from meshlb.v1 import scale_pb2

WHY = "reserve wants 4 (33 in flight / 10 a node + 0.57 spare for scatter)"


def new_act():
    return Act(parse(["--act", "scale"]), profile(60, Mix()), planned=99)


def played():
    act = new_act()
    act.take(1, [Node("a", "ready", "", 2.0)], "stays 1: calm", "")
    act.begin()
    for at_s, target, states in (
        (8.0, 4, {"a": "ready", "b": "starting"}),
        (20.0, 4, {"a": "ready", "b": "ready", "c": "ready", "d": "ready"}),
        (34.0, 2, {"a": "ready", "b": "lost", "c": "ready", "d": "draining"}),
    ):
        act.elapsed_s, act.in_flight = at_s, 33.0
        nodes = [Node(replica_id, state, "", 12.0) for replica_id, state in states.items()]
        act.take(target, nodes, f"{act.target} -> {target}: {WHY}", "")
        act.sample()
    act.killed("b")
    act.tally.add(Ended("a", generate=True, first_s=0.25, total_s=1.5, moves=1))
    act.sum_up()
    return act


def drawn(what, width, height=50):
    console = Console(width=width, height=height, file=io.StringIO())
    console.print(what)
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    return text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (124, 50), (200, 60)])
@pytest.mark.parametrize("act", [new_act(), played()], ids=["new", "played"])
def test_it_is_drawn_at_any_size(act, width, height):
    for text in (
        drawn(screen.frame(act, width, height), width),
        drawn(screen.summary(act, width), width),
    ):
        for word in ("serving", "draining", "demand", "static", "saved"):
            assert word in text


def test_it_fits_its_height():
    for height in (36, 40):
        assert drawn(screen.frame(played(), 100, height), 100).count("\n") <= height


def test_targets_reasons_nodes_and_events_are_told():
    text = drawn(screen.frame(played(), 100, 50), 100)
    for word in (
        "target 2", "ready 2", "draining 1", WHY[:60], "node-4", "KILLED", "target 4 -> 2",
        "node-2 killed (SIGKILL)", "node-4 withdrawn, 12 in flight",
    ):  # fmt: skip
        assert word in text


def test_the_summary_counts():
    act = played()
    act.elapsed_s = 60.0
    text = drawn(screen.summary(act, 100), 100)
    assert "1 killed" in text
    assert "No call failed, no stream broke." in text
    act.tally.add(Ended("a", generate=True, first_s=0.1, total_s=0.2, code="UNAVAILABLE"))
    act.sum_up()
    assert "Calls failed: 1, 1 of them in mid-stream." in drawn(screen.summary(act, 100), 100)


def test_the_figures():
    act = played()
    act.elapsed_s = 60.0
    whole = json.loads(json.dumps(act.as_json()))
    load_s = act.profile.load_s
    assert (whole["calls"], whole["failed_calls"], whole["broken_streams"]) == (1, 0, 0)
    assert whole["node_seconds"] == 8 * 1 + 12 * 2 + 14 * 4 + round((load_s - 34) * 3, 1)
    assert (whole["static_nodes"], whole["static_node_seconds"]) == (4, round(4 * load_s, 1))
    assert (whole["peak_nodes"], whole["decisions"], whole["reversals"]) == (4, 2, 1)
    assert [t["target"] for t in whole["targets"]] == [4, 2]
    assert new_act().as_json()["static_node_seconds"] is None


def test_a_node_serves_once_callers_have_reached_it():
    act = played()
    assert act.serves(Node("a", "ready"))
    assert act.serves(Node("new", "ready", "", 1.0))
    assert not act.serves(Node("new", "ready", "", 0.4))
    assert not act.serves(Node("new", "ready"))
    assert not act.serves(Node("a", "draining", "", 3.0))


def test_plain_lines_tell_each_event_once():
    lines = []
    show, act = Plain(lines.append, screen.line), played()
    show(act)
    show(act)
    assert sum("node-4 withdrawn" in line for line in lines) == 1
    assert any("target 2: 2 ready, 0 starting, 1 draining" in line for line in lines)


def test_a_moment_holds_until_the_next_one():
    one = Moment(0.0, 1.0, 1, 1, 0, 0)
    two = Moment(5.0, None, 2, 1, 1, 0)
    assert buckets([one, two], 10.0, 4) == [one, one, two, None]
    lines = chart([one, two], 10.0, 7, 2, 2).plain.splitlines()
    assert len(lines) == 3


def scale(target, reason, **states):
    record = json.dumps({"inputs": {"signals": {"in_flight": {"last": 7.5}}}})
    return scale_pb2.ScaleStatus(
        target_count=target,
        replicas=[
            scale_pb2.Replica(replica_id=replica_id, state=state, in_flight_count=count)
            for replica_id, (state, count) in states.items()
        ],
        decision=scale_pb2.ScaleDecision(reason=reason, record_json=record),
        problem="no room",
    )


def test_what_the_controller_says_is_taken_over():
    act = new_act()
    draining, ready = scale_pb2.REPLICA_STATE_DRAINING, scale_pb2.REPLICA_STATE_READY
    take(act, scale(2, "stays 2", a=(draining, None), b=(ready, 3.0)))
    assert (act.target, act.reason) == (2, "stays 2")
    assert act.nodes == [Node("a", "draining", "", None), Node("b", "ready", "", 3.0)]
    assert any("no room" in text for _, text in act.events.values())


def test_an_older_answer_changes_no_state():
    act = new_act()
    draining, ready = scale_pb2.REPLICA_STATE_DRAINING, scale_pb2.REPLICA_STATE_READY
    take(act, scale(2, "stays 2", a=(draining, 2.0)))
    refresh(act, scale(3, "stays 3", a=(ready, 1.0), gone=(ready, 1.0)))
    assert (act.target, act.reason, act.in_flight) == (2, "stays 2", 7.5)
    assert act.nodes == [Node("a", "draining", "", 1.0)]
    refresh(act, scale(2, "now stays 2"))
    assert (act.reason, act.nodes) == ("now stays 2", [Node("a", "draining", "", None)])
