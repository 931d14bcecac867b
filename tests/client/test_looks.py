"""Nodes that hang or fail, as one client sees them: its own counts, by a time table; no gRPC."""

import itertools
import logging
import random

import pytest

from meshlb.client.judgement import LOOK_S, WINDOW_S
from meshlb.client.node import LinkState, Outcome
from meshlb.client.routes import Routes
from meshlb.client.view import View
from meshlb.model import NodeState, Table, TableNode
from meshlb.policy.standing import FAILED_IN_A_ROW


class Link:
    def __init__(self):
        self.asked = []

    def connect(self):
        """Nothing to do: the test says what is connected."""

    def close(self):
        """Nothing to let go."""

    close_soon = close

    def probe(self, alive):
        self.asked.append(alive)


class Client:
    """Its nodes are connected, and its time is what the test says."""

    def __init__(self, names, picker="round_robin"):
        self.routes = Routes("s", "c", lambda routes, node: Link(), random.Random(1))
        self.view = View(self.routes, picker)
        self.version = 0
        self.now = 100.0
        self.push(dict.fromkeys(names, NodeState.ACTIVE))
        self.view.refresh()
        for node in self.nodes.values():
            self.routes.link_changed(node, node.link, LinkState.READY)

    def push(self, states):
        self.version += 1
        nodes = tuple(TableNode(n, 1, f"{n}:1", state=state) for n, state in states.items())
        self.routes.apply_table(Table("s", "c", 1, self.version, True, nodes))

    @property
    def nodes(self):
        return {node.info.node_id: node for node in self.routes.nodes.values()}

    @property
    def shut(self):
        return "".join(name for name, node in self.nodes.items() if node.suspected)

    def pass_time(self, seconds):
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self.routes.expire(self.now)

    def call(self, outcome=lambda name: Outcome.OK, took_s=0.04):
        """Begin a call, and end it at once as if it had taken so long; None: it stays."""
        node = self.view.begin(self.now)
        ended = outcome(node.info.node_id)
        if ended is not None:
            self.routes.end(node, took_s, ended, self.now)
        return node.info.node_id

    def calls(self, count, outcome=lambda name: Outcome.OK, took_s=0.04):
        """Make a call at each look; return which nodes they went to."""
        called = []
        for _ in range(count):
            called.append(self.call(outcome, took_s))
            self.pass_time(LOOK_S)
        return called


def hangs(*names):
    return lambda name: None if name in names else Outcome.OK


def fails(*names):
    return lambda name: Outcome.FAILED if name in names else Outcome.OK


def fails_some(but_one_of):
    """Return how ``a`` fails all calls but every third, say."""
    turn = itertools.count()
    return lambda name: Outcome.FAILED if name == "a" and next(turn) % but_one_of else Outcome.OK


def test_a_node_that_answers_nothing_is_left_alone_until_a_probe_is_answered():
    client = Client("abcd")
    client.calls(100)
    lost = client.calls(100, hangs("a")).count("a")
    assert client.shut == "a"
    assert lost <= 4

    probes = client.nodes["a"].link.asked
    assert len(probes) > 1
    assert client.calls(100, hangs("a")).count("a") == 0
    probes[-1]()
    assert client.shut == ""
    assert client.calls(40).count("a") > 5
    assert client.nodes["a"].standing.plain


def test_a_late_answer_brings_it_back():
    client = Client("abcd")
    client.calls(100)
    client.calls(60, hangs("a"))
    client.routes.end(client.nodes["a"], 1.0, Outcome.OK, client.now)
    client.pass_time(LOOK_S)
    assert client.shut == ""


def test_a_message_of_a_stream_is_an_answer():
    client = Client("abcd")
    client.calls(100)
    for _ in range(200):
        client.call(hangs("a"))
        client.nodes["a"].heard(None)
        client.pass_time(LOOK_S)
    assert client.shut == ""


def test_where_most_are_silent_all_are_called():
    client = Client("abc")
    client.calls(100)
    called = client.calls(120, hangs("a", "b"))
    assert client.shut == "ab"
    assert called[-30:].count("a") + called[-30:].count("b") == 20


def test_no_calls_in_flight_nothing_to_suspect():
    client = Client("ab")
    client.calls(50)
    client.pass_time(30.0)
    assert client.shut == ""


@pytest.mark.parametrize("picker", ["round_robin", "least_request", "expected_delay"])
def test_five_failures_in_a_row_shut_a_node_at_once_for_a_second(picker):
    client = Client("abcd", picker)
    called = client.calls(300, fails("a"), took_s=0.001)
    assert "a" in client.shut or client.nodes["a"].standing.most is not None
    assert FAILED_IN_A_ROW <= called.count("a") <= FAILED_IN_A_ROW + 4

    client.calls(2000)
    assert client.shut == ""
    assert client.calls(200).count("a") > 20


def test_errors_that_are_the_callers_own_shut_nobody():
    client = Client("ab")
    client.calls(200, lambda name: Outcome.ANSWERED if name == "a" else Outcome.OK)
    assert client.shut == ""
    assert client.nodes["a"].load.failing == 0.0


def test_a_node_that_fails_far_more_of_many_calls_is_shut_by_comparison():
    client = Client("abcdef")
    often = fails_some(3)
    while client.shut != "a" and client.now < 100.0 + 20 * WINDOW_S:
        for _ in range(20):
            client.call(often)
        client.pass_time(LOOK_S)
    assert "calls failed" in client.nodes["a"].standing.reason


def test_a_failing_node_is_spared_before_that():
    client = Client("abcd")
    half = fails_some(2)
    called = client.calls(400, half)
    assert called[100:].count("a") < 40
    assert client.calls(2000)[-200:].count("a") > 30


def test_what_becomes_of_a_node_is_told_once(caplog):
    caplog.set_level(logging.INFO, "meshlb.client")
    client = Client("abcd")
    client.calls(100)
    client.calls(100, hangs("a"))
    client.nodes["a"].link.asked[-1]()
    client.calls(60)
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[0] for text in told] == [
        f"node a (a:1) {what}" for what in ("is left alone", "is tried again", "is in order again")
    ]
    assert "silent" in told[0]


def test_suspicions_are_told_to_controllers():
    client = Client("abcd")
    client.calls(100)
    client.calls(60, hangs("a"))
    told = {n.node_id: n.suspicion for n in client.routes.call_report(client.now).nodes}
    assert "silent" in told.pop("a")
    assert set(told.values()) == {""}


def test_an_ejected_node_is_called_only_where_nothing_better_is_left_and_comes_back_on_trial():
    client = Client("ab")
    client.push({"a": NodeState.EJECTED, "b": NodeState.ACTIVE})
    assert set(client.calls(20)) == {"b"}
    client.push({"a": NodeState.EJECTED, "b": NodeState.UNHEALTHY})
    assert set(client.calls(20)) == {"a", "b"}
    client.push({"a": NodeState.ACTIVE, "b": NodeState.ACTIVE})
    assert client.nodes["a"].standing.most == 1
    assert set(client.calls(40)) == {"a", "b"}
    assert client.nodes["a"].standing.plain


def test_on_trial_a_node_has_one_call_at_once_while_another_has_room():
    client = Client("ab")
    for _ in range(FAILED_IN_A_ROW):
        client.routes.end(client.nodes["a"], 0.0, Outcome.FAILED, client.now)
        client.nodes["a"].load.in_flight = 0
        client.routes.client.in_flight = 0
    client.pass_time(1.3)
    assert client.nodes["a"].standing.most == 1
    called = [client.call(lambda name: None) for _ in range(10)]
    assert called.count("a") == 1
