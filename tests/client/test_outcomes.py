"""What a status says about its node, and whether the call goes on: nothing is called."""

import random

import grpc
import pytest

from meshlb.client.budget import RetryBudget
from meshlb.client.node import LinkState, Outcome
from meshlb.client.retry import (
    IDEMPOTENT,
    ONCE,
    RetryPolicy,
    after_started,
    connection_lost,
    outcome_of,
)
from meshlb.client.routes import Routes
from meshlb.client.tries import Tries
from meshlb.model import NodeState, Table, TableNode

Code = grpc.StatusCode
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:80: "
    "Failed to connect to remote host: Connection refused"
)


@pytest.mark.parametrize(
    ("code", "details", "address", "outcome"),
    [
        (Code.OK, "", "10.0.0.1:80", Outcome.OK),
        (Code.UNAVAILABLE, REFUSED, "10.0.0.1:80", Outcome.REFUSED),
        (Code.UNAVAILABLE, REFUSED, "node.internal:80", Outcome.REFUSED),
        (Code.UNAVAILABLE, REFUSED, "10.0.0.2:80", Outcome.FAILED),
        (Code.UNAVAILABLE, REFUSED.replace("10.0.0.1", "[fd00::1]"), "[fd00::1]:80",
         Outcome.REFUSED),
        (Code.UNAVAILABLE, "errors resolving node:80: [not found]", "node:80", Outcome.REFUSED),
        (Code.UNAVAILABLE, "errors resolving db:5432: [not found]", "node:80", Outcome.FAILED),
        (Code.UNAVAILABLE, "empty address list: ", "node:80", Outcome.REFUSED),
        (Code.UNAVAILABLE, "Connection refused by the database", "node:80", Outcome.FAILED),
        (Code.UNAVAILABLE, "Socket closed", "node:80", Outcome.FAILED),
        (Code.UNAVAILABLE, None, "node:80", Outcome.FAILED),
        (Code.DEADLINE_EXCEEDED, REFUSED, "10.0.0.1:80", Outcome.FAILED),
        (Code.RESOURCE_EXHAUSTED, "full", "node:80", Outcome.FAILED),
        (Code.NOT_FOUND, "no", "node:80", Outcome.ANSWERED),
        (Code.INTERNAL, "Exception serializing request!", "node:80", Outcome.ANSWERED),
        (Code.UNKNOWN, "Exception iterating requests!", "node:80", Outcome.ANSWERED),
        (Code.UNKNOWN, "Exception calling application: bug", "node:80", Outcome.FAILED),
    ],
)  # fmt: skip
def test_outcomes(code, details, address, outcome):
    assert outcome_of(code, details, address) is outcome


@pytest.mark.parametrize(
    ("code", "details", "lost"),
    [
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", True),
        (Code.UNAVAILABLE, "Cancelling all calls", True),
        (Code.UNAVAILABLE, "recvmsg:Connection reset by peer", True),
        (Code.UNAVAILABLE, "all slots are taken", False),
        (Code.UNKNOWN, "Stream removed", True),
        (Code.UNKNOWN, "Exception calling application: timed out", False),
        (Code.INTERNAL, "the database reset the connection", False),
        (Code.ABORTED, "Stream removed", False),
    ],
)
def test_lost_connections(code, details, lost):
    assert connection_lost(code, details) is lost


def again(policy, code, details="", attempts=1, trailing=()):
    return after_started(policy, code, details, attempts, trailing, random.Random(1))


def test_a_lost_connection_is_retried_without_delay_and_a_status_after_the_back_off():
    assert again(IDEMPOTENT, Code.UNAVAILABLE, "Socket closed").delay_s == 0
    assert again(ONCE, Code.UNAVAILABLE, "Socket closed") is None
    policy = RetryPolicy(5, frozenset({Code.ABORTED}), 0.1, 0.3, 2.0)
    delays = [again(policy, Code.ABORTED, attempts=n).delay_s for n in (1, 2, 3, 4)]
    for delay, middle in zip(delays, (0.1, 0.2, 0.3, 0.3), strict=True):
        assert 0.8 * middle <= delay <= 1.2 * middle
    assert again(policy, Code.ABORTED, attempts=5) is None
    assert again(policy, Code.UNAVAILABLE) is None


@pytest.mark.parametrize(
    ("said", "delay_s"), [("250", 0.25), (b"40", 0.04), ("0", 0), ("-1", None), ("x", None)]
)
def test_the_servers_push_back_is_obeyed(said, delay_s):
    found = again(
        IDEMPOTENT, Code.UNAVAILABLE, "full", trailing=(("grpc-retry-pushback-ms", said),)
    )
    assert (found and found.delay_s) == delay_s if delay_s is not None else found is None


def test_the_budget_is_a_fifth_of_the_calls_and_ten_a_second():
    budget = RetryBudget()
    assert sum(budget.take(0, 0.0) for _ in range(500)) == 100
    assert sum(budget.take(100, 0.0) for _ in range(100)) == 20
    assert sum(budget.take(100, 1.0) for _ in range(100)) == 10
    assert sum(budget.take(100, 1e6) for _ in range(500)) == 100


class Link:
    def refused(self):
        """Nobody listens."""


@pytest.mark.parametrize("down", [True, False])
def test_a_deadline_that_passes_in_an_attempt_at_a_node_that_is_down_was_waited_out(down):
    routes = Routes("s", "me", lambda routes, node: Link())
    routes.apply_table(Table("s", "c", 1, 1, True, (TableNode("a", 1, "10.0.0.1:80"),)))
    (node,) = routes.nodes.values()
    link = routes.link_of(node)
    routes.link_changed(node, link, LinkState.DOWN)
    tries = Tries(routes, "/p.S/M", None, True)
    refusal = (Code.UNAVAILABLE, REFUSED, ())
    for waits in (False, True):
        assert tries.failed(node, 0.0, 0.0, refusal).waits is waits
    if not down:
        routes.link_changed(node, link, LinkState.READY)
    assert tries.failed(node, 0.0, 0.3, (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", ())) is None
    assert tries.in_vain is down


@pytest.mark.parametrize("wait_for_ready", [True, False])
def test_a_node_that_came_while_the_others_refused_is_tried_before_the_call_ends(wait_for_ready):
    routes = Routes("s", "me", lambda routes, node: Link())
    first = TableNode("a", 1, "10.0.0.1:80")
    routes.apply_table(Table("s", "c", 1, 1, True, (first,)))
    (node,) = routes.nodes.values()
    routes.link_of(node)
    tries = Tries(routes, "/p.S/M", None, wait_for_ready)
    refusal = (Code.UNAVAILABLE, REFUSED, ())
    assert tries.failed(node, 0.0, 0.0, refusal).delay_s == 0.0
    drains = TableNode("c", 1, "10.0.0.3:80", state=NodeState.DRAINING)
    second = TableNode("b", 1, "10.0.0.2:80")
    routes.apply_table(Table("s", "c", 1, 2, True, (first, second, drains)))
    again = tries.failed(node, 0.0, 0.0, refusal)
    assert not again.waits
    assert not tries.refused
    tries.tried.append(next(n for n in routes.nodes.values() if n.info == second))
    again = tries.failed(node, 0.0, 0.0, refusal)
    assert again.waits if wait_for_ready else again is None


@pytest.mark.parametrize(("asked", "delay_s"), [(None, 0.0), ("1500", 1.5), ("-1", None)])
def test_a_stream_is_taken_up_again_no_earlier_than_its_server_asks(asked, delay_s):
    routes = Routes("s", "me", lambda routes, node: Link())
    routes.apply_table(Table("s", "c", 1, 1, True, (TableNode("a", 1, "10.0.0.1:80"),)))
    (node,) = routes.nodes.values()
    trailing = () if asked is None else (("grpc-retry-pushback-ms", asked),)
    error = (Code.UNAVAILABLE, "full", trailing)
    tries = Tries(routes, "/p.S/M", None, False)
    again = tries.failed(node, 0.0, 0.0, error, delivered=True, resume=lambda: True)
    assert (again and again.delay_s) == delay_s


def test_attempts_that_are_made_whatever_the_budget_says_leave_no_debt():
    budget = RetryBudget()
    for _ in range(500):
        budget.owe(0, 0.0)
    assert not budget.has_room(0, 0.0)
    assert sum(budget.take(0, 1.0) for _ in range(100)) == 10
