"""The main job: plain servers, a sidecar beside each, a controller, and a caller's stub."""

import json
import signal
import threading
import time

import pytest

import meshlb
from meshlb.v1.routing_pb2 import NodeState

pytestmark = pytest.mark.timeout(400)  # a busy machine starts so many processes slowly
IDEMPOTENT = (
    "grpc.service_config",
    json.dumps({"methodConfig": [{"name": [{"service": "plain.Plain"}], "idempotent": True}]}),
)


def until_called(ask, *names, limit_s=60):
    """Call until every one of the servers has answered, and no other."""
    missing, give_up = set(names), time.monotonic() + limit_s
    while missing:
        assert time.monotonic() < give_up, f"never called: {missing}"
        name = ask(b"", timeout=60)
        assert name in names
        missing.discard(name)


def test_calls_spread_over_plain_servers(processes, nodes_when):
    servers = [processes.server(f"s{i}") for i in range(3)]
    controller = processes.controller()
    for server in servers:
        processes.sidecar(controller.address, server)
    nodes_when(controller.address, lambda nodes: len(nodes) == 3)

    with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
        ask = channel.unary_unary("/plain.Plain/Ask")
        until_called(ask, b"s0", b"s1", b"s2")


def test_a_killed_server_costs_no_idempotent_call(processes, nodes_when):
    servers = [processes.server(f"s{i}", service_s=0.005) for i in range(3)]
    controller = processes.controller()
    for server in servers:
        processes.sidecar(controller.address, server)
    nodes_when(controller.address, lambda nodes: len(nodes) == 3)
    failures, done = [], []

    def call_on(channel):
        ask = channel.unary_unary("/plain.Plain/Ask")
        for _ in range(150):
            try:
                done.append(ask(b"", timeout=60))
            except Exception as error:
                failures.append(error)

    with meshlb.insecure_channel(f"mesh://{controller.address}/plain", [IDEMPOTENT]) as channel:
        threads = [threading.Thread(target=call_on, args=(channel,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(done) < 200:
            time.sleep(0.005)
        servers[0].kill()
        for thread in threads:
            thread.join()

    assert failures == []
    assert len(done) == 600


def test_calls_go_on_without_the_controller_and_find_its_successor(processes, nodes_when):
    servers = [processes.server(f"s{i}") for i in range(2)]
    controller = processes.controller()
    for server in servers:
        processes.sidecar(controller.address, server)
    nodes_when(controller.address, lambda nodes: len(nodes) == 2)

    with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
        ask = channel.unary_unary("/plain.Plain/Ask")
        until_called(ask, b"s0", b"s1")
        controller.kill()
        controller.wait()
        for _ in range(100):
            ask(b"", timeout=60)
        until_called(ask, b"s0", b"s1")
        processes.controller(controller.address)
        nodes_when(controller.address, lambda nodes: len(nodes) == 2)
        late = processes.server("late")
        processes.sidecar(controller.address, late)
        give_up = time.monotonic() + 60
        while ask(b"", timeout=60) != b"late":
            assert time.monotonic() < give_up, "the new node was never called"


def test_a_sidecar_that_ends_changes_no_traffic_and_drain_on_exit_does(processes, nodes_when):
    plain, leaving = processes.server("plain"), processes.server("leaving")
    controller = processes.controller()
    stays = processes.sidecar(controller.address, plain)
    drains = processes.sidecar(controller.address, leaving, "plain", "--drain-on-exit")
    nodes_when(controller.address, lambda nodes: len(nodes) == 2)

    with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
        ask = channel.unary_unary("/plain.Plain/Ask")
        until_called(ask, b"plain", b"leaving")
        stays.send_signal(signal.SIGTERM)
        drains.send_signal(signal.SIGTERM)
        assert stays.wait(60) == 0
        assert drains.wait(60) == 0
        nodes_when(
            controller.address, lambda nodes: all(n.node.address != leaving.address for n in nodes)
        )
        give_up = time.monotonic() + 60
        while b"leaving" in {ask(b"", timeout=60) for _ in range(50)}:
            assert time.monotonic() < give_up, "a drained node is still called"
        assert {ask(b"", timeout=60) for _ in range(50)} == {b"plain"}


def test_a_sidecar_that_is_killed_changes_no_traffic_and_its_node_is_unknown(
    processes, nodes_when, tmp_path
):
    config = tmp_path / "meshlb.toml"
    config.write_text("[default]\nfresh_s = 0.5\n")
    servers = [processes.server(f"s{i}") for i in range(2)]
    controller = processes.controller("127.0.0.1:0", "--config", config)
    sidecars = [processes.sidecar(controller.address, server) for server in servers]
    nodes_when(controller.address, lambda nodes: len(nodes) == 2)

    def state(nodes):
        return {n.node.address: NodeState.Name(n.state) for n in nodes}[servers[0].address]

    with meshlb.insecure_channel(f"mesh://{controller.address}/plain") as channel:
        ask = channel.unary_unary("/plain.Plain/Ask")
        until_called(ask, b"s0", b"s1")
        sidecars[0].kill()
        nodes_when(controller.address, lambda nodes: state(nodes) == "NODE_STATE_UNKNOWN")
        until_called(ask, b"s0", b"s1")  # by the client's own counts, which the controller sees:
        held = channel.unary_stream("/plain.Plain/Stream")
        streams = [held(b"1000000", timeout=300) for _ in range(4)]
        assert all(next(stream) for stream in streams)
        nodes_when(controller.address, lambda nodes: sum(n.in_flight_count for n in nodes) == 4)
        until_called(ask, b"s0", b"s1")
        processes.sidecar(controller.address, servers[0])  # as after an upgrade
        nodes_when(controller.address, lambda nodes: state(nodes) == "NODE_STATE_ACTIVE")
        until_called(ask, b"s0", b"s1")
        for stream in streams:
            stream.cancel()
