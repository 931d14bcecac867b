"""A controller that knows less than its clients, because it has just started or was held up."""

import pytest

from meshlb.model import CallReport, NodeCalls
from meshlb.settings import ServiceSettings
from tests.policy.fleets import START, fleet, observe, report

GRACE_S = 3.0


def run(made, until_s, reports=(), called=()):
    """Tick up to an instant: nodes that report, nodes where a client's calls succeed."""
    now = START if made._decided_at == START else made._decided_at + 0.1
    while now <= START + until_s + 1e-9:
        for node_id in reports:
            observe(made, report(node_id), now, f"stream of {node_id}")
        tick = round((now - START) * 10)
        calls = tuple(NodeCalls(node_id, 1, tick, tick) for node_id in called)
        made.observe_calls(CallReport("s", "client", tick + 1, calls), now)
        made.decide(now)
        now += 0.1
    table = made.services["s"].table
    return table and ([n.node_id for n in table.nodes], table.complete)


@pytest.mark.parametrize(
    ("reports", "called", "at_s", "told"),
    [
        ("", "", 2.0, None),
        ("", "", 4.0, ([], True)),  # nobody knows of a node
        ("", "ab", 4.0, None),  # cut off from the sidecars, not from the clients
        ("", "ab", 62.0, None),
        ("", "ab", 64.0, ([], True)),  # by then its sidecar is gone for good
        ("a", "ab", 2.0, (["a"], False)),
        ("a", "ab", 4.0, (["a"], False)),  # cut off from half of the nodes
        ("ab", "ab", 4.0, (["a", "b"], True)),
        ("ab", "", 4.0, (["a", "b"], True)),
        ("abc", "ab", 4.0, (["a", "b", "c"], True)),
    ],
)
def test_tables_are_complete_once_no_node_is_missing_that_clients_call(reports, called, at_s, told):
    assert run(fleet(), at_s, reports, called) == told


def test_a_node_that_is_not_called_any_more_is_not_waited_for():
    made = fleet()
    assert run(made, 4.0, "a", "ab") == (["a"], False)
    assert run(made, 8.0, "a", "a") == (["a"], False)
    assert run(made, 9.5, "a", "a") == (["a"], True)


def test_a_node_that_reports_late_makes_the_table_complete_and_it_stays_so():
    made = fleet()
    assert run(made, 5.0, "a", "ab") == (["a"], False)
    assert run(made, 5.5, "ab", "ab") == (["a", "b"], True)
    assert run(made, 20.0, "ab", "abc") == (["a", "b"], True)


def test_a_sidecar_that_never_comes_back_is_waited_for_as_long_as_a_silent_node():
    made = fleet(forget_s=10)
    assert run(made, 12.5, "a", "ab") == (["a"], False)
    assert run(made, 13.5, "a", "ab") == (["a"], True)


def test_a_controller_that_was_held_up_forgets_no_node_before_it_has_listened():
    made = fleet()
    assert run(made, 5.0, "ab") == (["a", "b"], True)
    made.decide(START + 500.0)  # it was frozen; what nodes said meanwhile has not been read yet
    assert [n.node_id for n in made.services["s"].table.nodes] == ["a", "b"]
    assert run(made, 501.0, "ab") == (["a", "b"], True)


def test_nodes_that_stay_silent_after_that_are_forgotten_all_the_same():
    made = fleet()
    run(made, 5.0, "ab")
    made.decide(START + 500.0)
    assert run(made, 504.0, "a")[0] == ["a", "b"]
    assert run(made, 506.0, "a")[0] == ["a"]


def test_what_clients_say_of_nodes_that_left_is_not_kept():
    made = fleet()
    run(made, 1.0, "a", [f"node {n}" for n in range(100)])
    run(made, 2.0, "a", "a")
    assert set(made.services["s"].clients["client"].succeeded) == {"a"}


def test_the_wait_follows_the_settings_of_the_service():
    assert ServiceSettings().forget_s + GRACE_S == 63.0
