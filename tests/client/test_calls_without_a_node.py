"""No table, no controller, no node: what a call does until there is one."""

import contextlib
import socket
import threading
from concurrent import futures

import grpc
import pytest

from meshlb.model import NodeState, TableNode

STYLES = {
    "unary": lambda c, **k: c.unary_unary("/t.T/Echo")(b"1", **k),
    "with_call": lambda c, **k: c.unary_unary("/t.T/Echo").with_call(b"1", **k)[0],
    "future": lambda c, **k: c.unary_unary("/t.T/Echo").future(b"1", **k).result(),
    "unary_stream": lambda c, **k: b"".join(c.unary_stream("/t.T/Count")(b"1", **k)),
    "stream_unary": lambda c, **k: c.stream_unary("/t.T/Join")(iter([b"1"]), **k),
    "stream_stream": lambda c, **k: b"".join(c.stream_stream("/t.T/Chat")(iter([b"1"]), **k)),
}
every_style = pytest.mark.parametrize("call", STYLES.values(), ids=STYLES)


@contextlib.contextmanager
def port_nobody_listens_on():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def waiting(channel):
    return channel._group.routes.waiting


@every_style
@pytest.mark.parametrize("wait_for_ready", [None, False, True])
def test_without_a_table_yet_a_call_waits_for_it(world, call, wait_for_ready):
    node = world.add_node()
    channel = world.channel()
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(call(channel, timeout=60, wait_for_ready=wait_for_ready))
    )
    thread.start()
    world.until(lambda: waiting(channel) == 1)
    world.until(lambda: world.controller.reports and world.controller.reports[-1].waiting == 1)
    world.controller.push(node)
    thread.join(60)
    assert len(answers) == 1
    world.until(lambda: waiting(channel) == 0)  # counted out by a thread of its own


@every_style
def test_a_deadline_that_passes_without_a_table_says_so(world, call):
    channel = world.channel()
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no routing table for service 'test'" in caught.value.details()
    world.until(lambda: waiting(channel) == 0)  # counted out by a thread of its own


@every_style
def test_a_service_scaled_to_zero_makes_calls_wait(world, call):
    world.controller.push()
    channel = world.channel()
    channel._group.open()
    world.until(lambda: channel._group.routes.table is not None)
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "has no node" in caught.value.details()
    with futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, channel, timeout=60)
        world.until(lambda: waiting(channel) == 1)
        world.controller.push(world.add_node())
        assert answer.result(60) in (b"1", b"0")


@every_style
def test_all_controllers_refusing_is_unavailable_and_says_what_to_check(world, call):
    with port_nobody_listens_on() as one, port_nobody_listens_on() as two:
        world_target = f"mesh://127.0.0.1:{one},127.0.0.1:{two}/llama"
        import meshlb

        with meshlb.insecure_channel(world_target) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                call(channel, timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            text = caught.value.details()
            assert f"127.0.0.1:{one}" in text
            assert f"127.0.0.1:{two}" in text
            assert "refused" in text
            assert "meshlb controller" in text
            with pytest.raises(grpc.RpcError) as caught:
                call(channel, timeout=0.2, wait_for_ready=True)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_controller_that_refuses_the_client_is_told_with_its_words(world):
    world.controller.refuses = True
    channel = world.channel()
    with pytest.raises(grpc.RpcError) as caught:
        STYLES["unary"](channel, timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "NOT_FOR_YOU" in caught.value.details()
    world.controller.refuses = False
    world.controller.push(world.add_node())
    assert STYLES["unary"](channel, timeout=60, wait_for_ready=True) == b"1"


def test_a_controller_that_comes_later_is_found(world):
    controller = world.controller
    node = world.add_node()
    controller.stop()
    channel = world.channel()
    with pytest.raises(grpc.RpcError):
        STYLES["unary"](channel, timeout=60)
    controller.start()
    controller.push(node)
    assert STYLES["unary"](channel, timeout=60, wait_for_ready=True) == b"1"
    assert STYLES["unary"](channel) == b"1"


def test_draining_nodes_get_no_new_calls_and_unhealthy_ones_the_last(world):
    a, b, c = (world.add_node(name) for name in "abc")

    def table(**states):
        world.controller.push(
            *(
                TableNode(n.name, 1, n.info.address, state=states.get(n.name, NodeState.ACTIVE))
                for n in (a, b, c)
            )
        )
        seen = world.controller.version
        routes = channel._group.routes
        world.until(lambda: routes.table is not None and routes.table.version == seen)

    channel = world.channel(options=[("meshlb.picker", "round_robin")])
    channel.subscribe(lambda state: None, try_to_connect=True)
    table(b=NodeState.DRAINING, c=NodeState.UNHEALTHY)
    for _ in range(6):
        STYLES["unary"](channel, timeout=60)
    assert (len(a.calls), len(b.calls), len(c.calls)) == (6, 0, 0)
    table(a=NodeState.DRAINING, b=NodeState.DRAINING, c=NodeState.UNHEALTHY)
    STYLES["unary"](channel, timeout=60)
    assert (len(b.calls), len(c.calls)) == (0, 1)
    table(a=NodeState.DRAINING, b=NodeState.DRAINING, c=NodeState.DRAINING)
    with pytest.raises(grpc.RpcError) as caught:
        STYLES["unary"](channel, timeout=0.1)
    assert "draining" in caught.value.details()


def test_a_node_that_swallows_packets_holds_up_nobody(world):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)  # accepts, and never speaks HTTP/2
        silent = TableNode("deaf", 1, f"127.0.0.1:{deaf.getsockname()[1]}")
        good = world.add_node("good")
        world.controller.push(silent, good)
        never_gives_up = ("grpc.min_reconnect_backoff_ms", 600_000)
        channel = world.channel(options=[("meshlb.picker", "round_robin"), never_gives_up])
        for _ in range(6):
            assert STYLES["unary"](channel, timeout=60) == b"1"


def test_close_ends_calls_that_wait(world):
    channel = world.channel()
    errors = []

    def call():
        try:
            STYLES["unary"](channel)
        except (grpc.RpcError, ValueError) as error:
            errors.append(error)

    future = channel.unary_unary("/t.T/Echo").future(b"")
    stream = channel.unary_stream("/t.T/Count")(b"1")
    thread = threading.Thread(target=call)
    thread.start()
    world.until(lambda: waiting(channel) == 3)
    channel.close()
    thread.join(60)
    assert len(errors) == 1
    assert future.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(grpc.RpcError):
        next(stream)
    world.until(lambda: waiting(channel) == 0)


def test_a_waiting_call_can_be_cancelled_or_dropped(world):
    channel = world.channel()
    future = channel.unary_unary("/t.T/Echo").future(b"")
    world.until(lambda: waiting(channel) == 1)
    assert future.cancel()
    assert future.cancelled()
    dropped = channel.unary_stream("/t.T/Count")(b"1")
    del dropped
    world.until(lambda: waiting(channel) == 0)
    node = world.add_node()
    world.controller.push(node)
    assert STYLES["unary"](channel, timeout=60) == b"1"
    assert node.calls == ["Echo"]


def test_many_waiting_futures_need_no_thread_each(world):
    channel = world.channel()
    before = threading.active_count()
    running = [channel.unary_unary("/t.T/Echo").future(b"1", timeout=60) for _ in range(300)]
    world.until(lambda: waiting(channel) == 300)
    assert threading.active_count() - before < 30
    world.controller.push(world.add_node())
    assert [future.result(60) for future in running] == [b"1"] * 300
