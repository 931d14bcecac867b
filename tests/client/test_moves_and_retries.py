"""What a call does when a node refuses it, breaks, or answers badly."""

import json
import threading
import time

import grpc
import pytest

IDEMPOTENT = [
    (
        "grpc.service_config",
        json.dumps({"methodConfig": [{"name": [{"service": "t.T"}], "idempotent": True}]}),
    )
]
CALLS = {
    "unary": lambda c: c.unary_unary("/t.T/Echo")(b"1", timeout=10),
    "with_call": lambda c: c.unary_unary("/t.T/Echo").with_call(b"1", timeout=10)[0],
    "future": lambda c: c.unary_unary("/t.T/Echo").future(b"1", timeout=10).result(),
    "unary_stream": lambda c: b"".join(c.unary_stream("/t.T/Count")(b"1", timeout=10)),
    "stream_unary": lambda c: c.stream_unary("/t.T/Join")(iter([b"1", b"2"]), timeout=10),
    "stream_unary_future": lambda c: (
        c.stream_unary("/t.T/Join").future(iter([b"1", b"2"]), timeout=10).result()
    ),
    "stream_stream": lambda c: b",".join(
        c.stream_stream("/t.T/Chat")(iter([b"1", b"2"]), timeout=10)
    ),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def retry(**fields):
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.02s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
        **fields,
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    return [("grpc.service_config", json.dumps(config))]


def connected(world, channel):
    echo = channel.unary_unary("/t.T/Echo")
    echo(b"", timeout=5)
    routes = channel._group.routes
    world.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
    for node in (world.a, world.b):
        node.calls.clear()
    return routes


@pytest.fixture
def two(world, busy):
    """Two connected nodes under round_robin; ``two.open(options)`` gives the channel."""
    world.a, world.b = world.add_node("a"), world.add_node("b")
    world.controller.push(world.a, world.b)
    made = []

    def open_channel(options=()):
        channel = world.channel(options=[("meshlb.picker", "round_robin"), *options])
        made.append(connected(world, channel))
        return channel

    world.open = open_channel
    yield world
    for routes in made:
        world.until(lambda routes=routes: busy(routes) == 0, "no call in flight at the end")


@every_call
def test_a_refused_call_moves_whatever_its_method(two, call):
    channel = two.open()
    two.a.stop()
    for _ in range(6):
        assert call(channel).startswith((b"1", b"0"))
    assert len(two.b.calls) == 6


@every_call
def test_a_node_that_is_back_gets_calls_again(two, call):
    channel = two.open()
    two.a.stop()
    call(channel)
    call(channel)
    two.a.start()
    two.a.calls.clear()
    two.until(lambda: call(channel) and two.a.calls, "node a is called again")


@every_call
def test_a_call_that_broke_midway_is_not_sent_twice(two, call):
    channel = two.open()
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(two.a.calls) + len(two.b.calls) == 1


@every_call
def test_an_idempotent_call_that_broke_midway_goes_to_the_other_node(two, call):
    channel = two.open(IDEMPOTENT)
    two.a.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    for _ in range(4):
        assert call(channel).startswith((b"1", b"0"))
    assert len(two.b.calls) == 4
    assert two.a.calls


def test_the_table_can_say_that_a_method_is_idempotent(two):
    channel = two.open()
    two.a.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    two.controller.push(two.a, two.b, idempotent_methods=("/t.T/",))
    two.until(lambda: channel._group.routes.table.idempotent_methods)
    for _ in range(4):
        assert CALLS["unary"](channel) == b"1"


@pytest.mark.parametrize(
    "text",
    [
        "Connection refused by the database",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.9.9.9:5432: refused",
        "errors resolving db.internal:5432",
    ],
)
def test_a_servers_own_words_about_its_back_end_do_not_send_a_call_twice(two, text):
    channel = two.open()
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, text)
    with pytest.raises(grpc.RpcError) as caught:
        CALLS["unary"](channel)
    assert caught.value.details() == text
    assert len(two.a.calls) + len(two.b.calls) == 1
    assert all(n.link_state.value == "ready" for n in channel._group.routes.nodes.values())


@every_call
def test_a_retry_policy_names_the_codes_and_the_attempts(two, call):
    channel = two.open(retry(maxAttempts=3, retryableStatusCodes=["ABORTED"]))
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.ABORTED, "again")
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert len(two.a.calls) + len(two.b.calls) == 3
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.INTERNAL, "no")
    with pytest.raises(grpc.RpcError):
        call(channel)
    assert len(two.a.calls) + len(two.b.calls) == 4


def test_a_server_can_forbid_the_retry(two):
    channel = two.open(retry())

    def fail(method, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "full")

    two.a.hook = two.b.hook = fail
    with pytest.raises(grpc.RpcError):
        CALLS["unary"](channel)
    assert len(two.a.calls) + len(two.b.calls) == 1


def test_a_back_off_longer_than_the_deadline_gives_the_error_now(two):
    channel = two.open(retry(initialBackoff="50s", maxBackoff="50s"))
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, "full")
    for call in (CALLS["unary"], CALLS["future"], CALLS["unary_stream"]):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.details() == "full"


def test_retries_after_a_servers_own_status_are_held_to_a_budget(two):
    channel = two.open(retry(maxAttempts=5, initialBackoff="0.0001s", maxBackoff="0.0001s"))
    two.a.hook = two.b.hook = lambda m, c: c.abort(grpc.StatusCode.UNAVAILABLE, "full")
    for _ in range(80):
        with pytest.raises(grpc.RpcError):
            CALLS["unary"](channel)
    assert len(two.a.calls) + len(two.b.calls) < 250  # 400 without one


def test_messages_that_reached_the_caller_forbid_the_retry(two):
    channel = two.open(IDEMPOTENT)

    def cut(n, context):
        if n == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    two.a.after_message = two.b.after_message = cut
    got = []
    with pytest.raises(grpc.RpcError) as caught:
        got.extend(channel.unary_stream("/t.T/Count")(b"5", timeout=5))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(two.a.calls) + len(two.b.calls) == 1


def test_a_stream_resumes_where_it_broke(two):
    asked = []

    def rest(request, received):
        asked.append((request, list(received)))
        left = int(request) - len(received)
        return b"%d" % left if left else None

    channel = two.open([*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])

    def cut(n, context):
        if n == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    two.a.after_message = cut
    whole, pieced = [b"0", b"1", b"2", b"3"], [b"0", b"1", b"0", b"1"]
    while not asked:
        got = list(channel.unary_stream("/t.T/Count")(b"4", timeout=5))
        assert got == (pieced if asked else whole)
    assert asked == [(b"4", [b"0", b"1"])]


def test_a_stream_that_broke_after_its_last_message_is_whole(two):
    channel = two.open(
        [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: None})]
    )

    def cut(n, context):
        if n == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    two.a.after_message = two.b.after_message = cut
    call = channel.unary_stream("/t.T/Count")(b"2", timeout=5)
    assert list(call) == [b"0", b"1"]
    assert call.code() is grpc.StatusCode.OK


def test_a_resume_hook_that_raises_ends_the_call_with_the_nodes_error(two):
    channel = two.open(
        [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})]
    )
    two.a.after_message = two.b.after_message = lambda n, context: context.abort(
        grpc.StatusCode.UNAVAILABLE, "Socket closed"
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream("/t.T/Count")(b"2", timeout=5))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_killed_process_costs_no_idempotent_call(world, busy):
    nodes = [world.add_process(name, delay_s=0.005) for name in "abc"]
    world.controller.push(*nodes)
    channel = world.channel(options=IDEMPOTENT)
    echo = channel.unary_unary("/t.T/Echo")
    count = channel.unary_stream("/t.T/Count")
    echo(b"", timeout=10)
    stop = threading.Event()
    failed, done = [], []

    def load(n):
        while not stop.is_set():
            try:
                if n % 3 == 0:
                    echo.future(b"1", timeout=20).result()
                elif n % 3 == 1:
                    echo(b"1", timeout=20)
                else:
                    next(count(b"1", timeout=20))
                done.append(n)
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(9)]
    for thread in threads:
        thread.start()
    world.until(lambda: len(done) > 60)
    nodes[0].kill()
    after = len(done)
    world.until(lambda: len(done) > after + 100)
    back = world.add_process("a", delay_s=0.005, port=nodes[0].port)
    routes = channel._group.routes
    world.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failed == []
    assert back.port == nodes[0].port
    world.until(lambda: busy(routes) == 0)


def test_with_every_node_dead_one_is_tried_and_its_error_told_with_the_context(two):
    channel = two.open()
    two.a.stop()
    two.b.stop()
    for call in CALLS.values():
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in caught.value.details()
        assert "service 'test'" in caught.value.details()
        assert "127.0.0.1" in caught.value.details()


@every_call
def test_with_every_node_dead_a_call_that_waits_for_ready_waits(two, call):
    channel = two.open()
    echo = channel.unary_unary("/t.T/Echo")
    two.a.stop()
    two.b.stop()
    with pytest.raises(grpc.RpcError) as caught:
        echo(b"", timeout=0.3, wait_for_ready=True)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "refuse" in caught.value.details()
    threading.Timer(0.2, two.b.start).start()
    assert echo(b"1", timeout=20, wait_for_ready=True) == b"1"


def test_requests_read_before_a_refusal_are_not_lost(two):
    channel = two.open()
    two.a.stop()
    sent = []

    def requests():
        for n in range(50):
            sent.append(n)
            yield b"%d" % n

    for _ in range(4):
        sent.clear()
        answer = channel.stream_unary("/t.T/Join")(requests(), timeout=10)
        assert answer == b",".join(b"%d" % n for n in range(50))
        assert sent == list(range(50))


def test_a_wait_for_ready_in_the_service_config_is_the_stubs_own(two):
    config = {"methodConfig": [{"name": [{}], "waitForReady": True, "timeout": "0.2s"}]}
    channel = two.open([("grpc.service_config", json.dumps(config))])
    two.a.stop()
    for _ in range(4):
        assert CALLS["unary"](channel) == b"1"
    two.b.gate.clear()
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Echo")(b"")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 8
    two.b.gate.set()
