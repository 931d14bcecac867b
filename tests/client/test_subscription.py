"""Tables and shares in, counts out, over controllers that die, lie and hang."""

import contextlib
import itertools
import socket
import time

import grpc
import pytest

from meshlb.v1 import routing_pb2

Connectivity = grpc.ChannelConnectivity


def open_to(world, *controllers):
    channel = world.channel(*controllers, options=[("meshlb.picker", "round_robin")])
    channel._group.open()
    return channel, channel._group.routes


def table_of(routes):
    table = routes.table
    return None if table is None else (table.controller_id, table.version)


def test_each_table_is_applied_and_acknowledged(world):
    _channel, routes = open_to(world)
    world.controller.push(world.add_node())
    world.until(lambda: table_of(routes) == ("c1", 1))
    world.controller.push()
    world.until(lambda: table_of(routes) == ("c1", 2))
    world.until(lambda: [a.version for a in world.controller.acks] == [1, 2])
    assert [a.error for a in world.controller.acks] == ["", ""]
    (subscribed,) = world.controller.subscribed
    assert subscribed.service == "test"
    assert subscribed.client_id == routes.client_id


def test_a_bad_table_is_refused_with_every_fault_and_the_old_one_stays(world):
    node = world.add_node()
    world.controller.push(node)
    channel, routes = open_to(world)
    world.until(lambda: table_of(routes) == ("c1", 1))
    bad = routing_pb2.RoutingTable()
    bad.CopyFrom(world.controller.table)
    bad.version = 2
    bad.nodes[0].weight = -1
    bad.nodes[0].address = "nowhere"
    world.controller.push_pb(bad)
    world.until(lambda: len(world.controller.acks) == 2)
    assert "weight" in world.controller.acks[1].error
    assert "nowhere" in world.controller.acks[1].error
    assert table_of(routes) == ("c1", 1)
    assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"
    world.controller.push(node, service="another")
    world.until(lambda: len(world.controller.acks) == 3)
    assert "another" in world.controller.acks[2].error


def test_within_one_start_of_a_controller_versions_never_go_back(world):
    _channel, routes = open_to(world)
    node = world.add_node()
    world.controller.push(node, version=5)
    world.until(lambda: table_of(routes) == ("c1", 5))
    world.controller.push(version=4)
    world.until(lambda: len(world.controller.acks) == 2)
    assert "older" in world.controller.acks[1].error
    assert table_of(routes) == ("c1", 5)
    world.controller.epoch += 1  # it was restarted
    world.controller.push(version=1, complete=False)
    world.until(lambda: len(world.controller.acks) == 3)
    assert table_of(routes) == ("c1", 5)
    world.controller.push(node, version=2)
    world.until(lambda: table_of(routes) == ("c1", 2))


def test_calls_go_on_when_the_controller_dies_and_comes_back_knowing_nothing(world):
    node = world.add_node()
    world.controller.push(node)
    channel, routes = open_to(world)
    echo = channel.unary_unary("/t.T/Echo")
    assert echo(b"1", timeout=60) == b"1"
    world.controller.stop()
    for _ in range(5):
        assert echo(b"1", timeout=60) == b"1"
    world.controller.epoch += 1
    world.controller.push(complete=False, version=1)
    world.controller.start()
    world.until(lambda: world.controller.watchers == 1)
    world.until(lambda: len(world.controller.acks) == 2)
    assert echo(b"1", timeout=60) == b"1"
    world.controller.push(node)
    world.until(lambda: routes.table.epoch == world.controller.epoch)


def test_the_next_controller_takes_over_once_it_is_complete(world):
    first, second = world.controller, world.add_controller("c2")
    node, other = world.add_node("a"), world.add_node("b")
    first.push(node)
    channel, routes = open_to(world, first, second)
    world.until(lambda: table_of(routes) == ("c1", 1))
    first.stop()
    world.until(lambda: second.watchers == 1)
    second.push(other, complete=False)
    world.until(lambda: len(second.acks) == 1)
    assert table_of(routes) == ("c1", 1)
    second.push(other)
    world.until(lambda: table_of(routes) == ("c2", 2))
    channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    assert other.calls


def test_a_first_table_is_taken_from_any_controller_complete_or_not(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        controller = world.controller
        controller.push(world.add_node(), complete=False)
        import meshlb

        target = f"mesh://127.0.0.1:{taken.getsockname()[1]},{controller.address}/test"
        with meshlb.insecure_channel(target) as channel:
            assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"


def test_counts_are_told_to_every_controller(world):
    first, second = world.controller, world.add_controller("c2")
    first.push(world.add_node())
    channel, routes = open_to(world, first, second)
    channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    for controller in (first, second):
        world.until(
            lambda c=controller: c.reports and [n.succeeded for n in c.reports[-1].nodes] == [1]
        )
        assert controller.reports[-1].client_id == routes.client_id
    assert second.watchers == 0
    sequences = [r.sequence for r in first.reports]
    assert sequences == sorted(set(sequences))


def test_idle_counts_are_told_seldom_but_told(world):
    world.controller.interval_s = 0.02
    began = time.monotonic()
    _channel, _routes = open_to(world)
    world.until(lambda: len(world.controller.reports) >= 3)
    assert len(world.controller.reports) <= 2 + 2 * (time.monotonic() - began)


def test_a_share_is_taken_and_own_calls_are_taken_out_of_its_counts(world):
    node = world.add_node()
    world.controller.push(node)
    channel, routes = open_to(world)
    channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    node.gate.clear()
    futures = [channel.unary_unary("/t.T/Echo").future(b"") for _ in range(3)]
    world.until(
        lambda: (
            world.controller.reports
            and [n.in_flight for n in world.controller.reports[-1].nodes] == [3]
        )
    )

    def own_calls_are_taken_out():  # the client remembers a few seconds of what it reported
        counted = world.controller.reports[-1].sequence
        world.controller.push_share(0.25, {"a": 12}, counted)
        return [n.load.others for n in routes.nodes.values()] == [9]

    world.until(own_calls_are_taken_out)
    assert routes.client.share == 0.25
    world.controller.push_share(0.5, {"a": 12}, interval_s=0.01)
    world.until(lambda: [n.load.others for n in routes.nodes.values()] == [None], "it grows stale")
    assert routes.client.share == 0.5
    node.gate.set()
    assert [f.result(60) for f in futures] == [b""] * 3


def test_a_wrong_share_is_ignored(world):
    world.controller.push(world.add_node())
    channel, routes = open_to(world)
    world.until(lambda: table_of(routes) is not None)
    world.controller.push_share(7.0)
    world.controller.push_share(0.5, {"unknown": 3})
    world.until(lambda: routes.client.share == 0.5)
    assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"


def test_a_controller_that_ends_every_stream_is_not_asked_in_a_tight_loop(world):
    controller = world.controller
    controller.push(world.add_node())
    asked = []

    def once(requests, context):
        asked.append(next(requests))
        from meshlb.v1 import balance_pb2

        yield balance_pb2.WatchRoutesResponse(table=controller.table)

    controller.WatchRoutes = once
    controller.stop()
    controller.start()
    channel, _routes = open_to(world)
    world.until(lambda: len(asked) >= 2)
    began, before = time.monotonic(), len(asked)
    time.sleep(0.5)
    assert len(asked) - before <= 12 * (time.monotonic() - began) + 2
    assert channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"


def test_nothing_is_printed_unless_the_caller_asks_for_logs(world, capfd):
    world.controller.push(world.add_node())
    channel, _routes = open_to(world)
    channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    bad = routing_pb2.RoutingTable()
    bad.CopyFrom(world.controller.table)
    bad.version = 9
    bad.nodes[0].weight = -1
    world.controller.push_pb(bad)
    world.until(lambda: len(world.controller.acks) == 2)
    channel.close()
    assert capfd.readouterr().out == ""


def test_the_watch_returns_to_the_first_controller_when_it_is_back(world, monkeypatch):
    monkeypatch.setattr("meshlb.client.subscription.RETURN_AFTER_S", 0.1)
    first, second = world.controller, world.add_controller("c2")
    node = world.add_node()
    second.push(node)
    first.stop()
    _channel, routes = open_to(world, first, second)
    world.until(lambda: table_of(routes) == ("c2", 1))
    first.push(node)
    first.start()
    world.until(lambda: table_of(routes) == ("c1", 1))
    assert second.watchers == 0 or world.until(lambda: second.watchers == 0) is None


def test_a_controller_that_hangs_is_left(world, monkeypatch):
    monkeypatch.setattr("meshlb.client.subscription.SILENCE_S", 0.3)
    first, second = world.controller, world.add_controller("c2")
    node = world.add_node()
    first.push(node)
    second.push(node)
    _channel, routes = open_to(world, first, second)
    world.until(lambda: table_of(routes) == ("c1", 1))
    first.push_share(0.5, interval_s=0.01)  # and then no more
    world.until(lambda: second.subscribed, "the second is asked")


@pytest.mark.parametrize("try_to_connect", [True, False])
def test_connectivity_of_the_mesh_as_a_whole(world, try_to_connect):
    channel = world.channel()
    seen = []
    other = []
    channel.subscribe(seen.append, try_to_connect=try_to_connect)
    channel.subscribe(other.append)
    world.until(lambda: seen)
    assert seen[0] is (Connectivity.CONNECTING if try_to_connect else Connectivity.IDLE)
    if not try_to_connect:
        channel._group.open()
        with contextlib.suppress(grpc.RpcError):
            channel.unary_unary("/t.T/Echo")(b"", timeout=0.01)
    node = world.add_node()
    world.controller.push(node)
    if not try_to_connect:
        channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    world.until(lambda: seen[-1] is Connectivity.READY)
    world.until(lambda: other[-1] is Connectivity.READY)
    channel.unsubscribe(other.append)
    world.lost(channel, node)
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    world.until(lambda: seen[-1] is Connectivity.TRANSIENT_FAILURE)
    node.start()
    world.until(lambda: seen[-1] is Connectivity.READY)
    assert all(a is not b for a, b in itertools.pairwise(seen))


def test_channel_ready_future_waits_for_a_node(world):
    channel = world.channel()
    ready = grpc.channel_ready_future(channel)
    with pytest.raises(grpc.FutureTimeoutError):
        ready.result(timeout=0.1)
    world.controller.push(world.add_node())
    ready.result(timeout=60)
