"""What a controller's records say of a service."""

import pytest

from meshlb.model import CallReport, Health, LoadReport, NodeCalls, NodeInfo, NodeState
from meshlb.policy.fleet import Fleet
from meshlb.policy.sample import sample_of
from meshlb.settings import ServiceSettings, Settings

START = 1000.0


def fleet():
    return Fleet(Settings(default=ServiceSettings(fresh_s=3, forget_s=60)), "c", 1, START)


def report(made, node_id, now, slots=None, **figures):
    info = NodeInfo("s", node_id, 1, f"{node_id}:80", slots=slots)
    made.observe_report(LoadReport(info, **figures), f"stream of {node_id}", now, now)


def calls(made, now, sequence, *nodes, client="x", waiting=0):
    made.observe_calls(CallReport("s", client, sequence, nodes, waiting), now)


def sample(made, now, starting=0):
    made.decide(now)
    return sample_of(made.services["s"], now, starting, 20.0)


def test_calls_in_flight_are_those_at_nodes_and_those_that_wait():
    made = fleet()
    report(made, "a", START, slots=2)
    report(made, "b", START, slots=2)
    calls(made, START, 1, NodeCalls("a", 5), NodeCalls("b", 1), waiting=3)
    calls(made, START, 1, NodeCalls("a", 1), client="y")

    found = sample(made, START, starting=2)

    assert found.readings["in_flight"].total == 10
    assert found.readings["queued"].total == 7  # 3 wait in stubs, 4 beyond the slots of a
    assert (found.waiting, found.ready, found.starting, found.slots) == (3, 2, 2, 2.0)
    assert found.start_up_s == 20.0


def test_a_signal_that_nobody_ever_told_is_left_out_and_a_silent_node_is_missing():
    made = fleet()
    report(made, "a", START, host_cpu=0.5)
    report(made, "b", START, host_cpu=0.7)
    assert sample(made, START).readings["cpu"].total == pytest.approx(1.2)
    assert "gpu" not in sample(made, START).readings

    report(made, "a", START + 5, host_cpu=0.6)
    found = sample(made, START + 5)

    cpu = found.readings["cpu"]
    assert (cpu.total, cpu.measured, cpu.missing) == (0.6, 1, 1)
    assert found.reported == 0.5
    assert found.ready == 2  # silence is no failure


def test_unhealthy_nodes_do_not_serve_and_draining_ones_are_apart():
    made = fleet()
    report(made, "a", START, host_cpu=0.5)
    report(made, "b", START, health=Health.NOT_SERVING)
    report(made, "c", START, host_cpu=0.9)
    made.services["s"].nodes["c"].drained = True
    calls(made, START, 1, NodeCalls("a", 1), NodeCalls("c", 4))

    found = sample(made, START)

    assert (found.ready, found.draining, found.reported) == (1, 1, 1.0)
    assert found.readings["cpu"].total == 0.5
    assert found.readings["in_flight"].total == 5  # those on the draining node come back elsewhere


def test_rate_and_response_time_follow_from_the_clients_counts():
    made = fleet()
    begun = 0
    for tick in range(200):
        now = START + tick / 10
        begun = tick * 3  # 30 a second, 0.2 s each, so 6 in flight
        spent_s = 6 * tick / 10
        report(made, "a", now)
        calls(made, now, tick + 1, NodeCalls("a", 6, begun + 6, begun, in_flight_time_s=spent_s))
        found = sample(made, now)

    assert found.readings["rate"].total == pytest.approx(30, rel=0.05)
    assert found.readings["response_time"].total == pytest.approx(0.2, rel=0.05)
    assert found.curve is not None
    assert found.curve.latency_s(5) == pytest.approx(0.2, rel=0.2)


def test_a_new_client_or_node_makes_no_burst_of_old_calls():
    made = fleet()
    report(made, "a", START)
    sample(made, START)
    calls(made, START + 0.1, 1, NodeCalls("a", 0, started=10**6, succeeded=10**6))
    assert sample(made, START + 0.1).readings["rate"].total == 0


def test_without_clients_the_load_is_none_but_a_silent_server_that_counted_is_a_gap():
    made = fleet()
    report(made, "a", START, in_flight=4)
    for tick in range(40):
        report(made, "a", START + tick / 10, in_flight=4)
        found = sample(made, START + tick / 10)
    assert found.readings["in_flight"].total == pytest.approx(4, rel=0.2)

    found = sample(made, START + 20)

    assert found.readings["in_flight"].missing == 1


def test_tokens_are_a_named_metric():
    made = fleet()
    report(made, "a", START, named_metrics={"tokens_outstanding": 900.0})
    report(made, "b", START, named_metrics={"tokens_outstanding": 100.0})
    assert sample(made, START).readings["tokens"].total == 1000


def test_nothing_known_of_a_service_without_nodes():
    made = fleet()
    made.service("s")
    found = sample(made, START)
    assert (found.ready, found.reported, found.curve, found.slots) == (0, 1.0, None, None)
    assert found.readings["in_flight"].total == 0


def test_an_ejected_node_still_tells_its_load_and_is_not_ready():
    made = fleet()
    for tick in range(1, 4):
        now = START + tick / 10
        for name in "abcd":
            report(made, name, now, host_cpu=0.5)
        nodes = [NodeCalls(name, 1, tick, tick) for name in "bcd"]
        calls(made, now, tick, NodeCalls("a", 1, 20 * tick, 0, 20 * tick), *nodes)
        made.decide(now)

    found = sample(made, START + 0.4)

    assert made.services["s"].states["a"][0] is NodeState.EJECTED
    assert found.ready == 3
    assert found.readings["in_flight"].total == 4
    assert found.readings["cpu"].measured == 4
