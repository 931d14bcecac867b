"""What a call does when a node refuses it, breaks, or answers badly."""

import json
import threading
from concurrent import futures

import grpc
import pytest

from tests.client.channel_options import IDEMPOTENT, LONG, config
from tests.client.fakes import CLOSED, aborting

CALLS = {
    "unary": lambda c, **how: c.unary_unary("/t.T/Echo")(b"1", **LONG | how),
    "with_call": lambda c, **how: c.unary_unary("/t.T/Echo").with_call(b"1", **LONG | how)[0],
    "future": lambda c, **how: c.unary_unary("/t.T/Echo").future(b"1", **LONG | how).result(),
    "unary_stream": lambda c, **how: b"".join(c.unary_stream("/t.T/Count")(b"1", **LONG | how)),
    "stream_unary": lambda c, **how: c.stream_unary("/t.T/Join")(iter([b"1", b"2"]), **LONG | how),
    "stream_unary_future": lambda c, **how: (
        c.stream_unary("/t.T/Join").future(iter([b"1", b"2"]), **LONG | how).result()
    ),
    "stream_stream": lambda c, **how: b",".join(
        c.stream_stream("/t.T/Chat")(iter([b"1", b"2"]), **LONG | how)
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
    return config(retryPolicy=policy)


@every_call
def test_a_refused_call_moves_whatever_its_method(pair, open_in_turn, call):
    channel = open_in_turn()
    pair.lost(channel, pair.a)
    for _ in range(6):
        assert call(channel).startswith((b"1", b"0"))
    assert len(pair.b.calls) == 6


@every_call
def test_a_node_that_is_back_gets_calls_again(pair, open_in_turn, call):
    channel = open_in_turn()
    pair.lost(channel, pair.a)
    call(channel)
    call(channel)
    pair.a.start()
    pair.a.calls.clear()
    pair.until(lambda: call(channel) and pair.a.calls, "node a is called again")


@every_call
def test_a_call_that_broke_midway_is_not_sent_twice(pair, open_in_turn, call):
    channel = open_in_turn()
    pair.a.hook = pair.b.hook = aborting(*CLOSED)
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(pair.calls) == 1


@every_call
def test_an_idempotent_call_that_broke_midway_goes_to_the_other_node(pair, open_in_turn, call):
    channel = open_in_turn(IDEMPOTENT)
    pair.a.hook = aborting(*CLOSED)
    for _ in range(4):
        assert call(channel).startswith((b"1", b"0"))
    assert len(pair.b.calls) == 4
    assert pair.a.calls


def test_the_table_can_say_that_a_method_is_idempotent(pair, open_in_turn):
    channel = open_in_turn()
    pair.a.hook = aborting(*CLOSED)
    pair.controller.push(pair.a, pair.b, idempotent_methods=("/t.T/",))
    pair.until(lambda: channel._group.routes.table.idempotent_methods)
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
def test_a_servers_own_words_about_its_back_end_do_not_send_a_call_twice(pair, open_in_turn, text):
    channel = open_in_turn()
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.UNAVAILABLE, text)
    with pytest.raises(grpc.RpcError) as caught:
        CALLS["unary"](channel)
    assert caught.value.details() == text
    assert len(pair.calls) == 1
    assert all(n.link_state.value == "ready" for n in channel._group.routes.nodes.values())


@every_call
def test_a_retry_policy_names_the_codes_and_the_attempts(pair, open_in_turn, call):
    channel = open_in_turn(retry(maxAttempts=3, retryableStatusCodes=["ABORTED"]))
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.ABORTED, "again")
    with pytest.raises(grpc.RpcError) as caught:
        call(channel)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert len(pair.calls) == 3
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.INTERNAL, "no")
    with pytest.raises(grpc.RpcError):
        call(channel)
    assert len(pair.calls) == 4


def test_a_server_can_forbid_the_retry(pair, open_in_turn):
    channel = open_in_turn(retry())

    def fail(method, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "full")

    pair.a.hook = pair.b.hook = fail
    with pytest.raises(grpc.RpcError):
        CALLS["unary"](channel)
    assert len(pair.calls) == 1


def test_a_back_off_longer_than_the_deadline_gives_the_error_now(pair, open_in_turn):
    channel = open_in_turn(retry(initialBackoff="500s", maxBackoff="500s"))
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.UNAVAILABLE, "full")
    for call in (CALLS["unary"], CALLS["future"], CALLS["unary_stream"]):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.details() == "full"


def test_retries_after_a_servers_own_status_are_held_to_a_budget(pair, open_in_turn):
    channel = open_in_turn(retry(maxAttempts=5, initialBackoff="0.0001s", maxBackoff="0.0001s"))
    channel._group.routes.budget.PER_S = 0.0  # what time alone would earn
    pair.a.hook = pair.b.hook = aborting(grpc.StatusCode.UNAVAILABLE, "full")
    for _ in range(80):
        with pytest.raises(grpc.RpcError):
            CALLS["unary"](channel)
    assert len(pair.calls) < 250  # 400 without one


def test_a_killed_process_costs_no_idempotent_call(world, busy):
    nodes = [world.add_process(name, delay_s=0.005) for name in "abc"]
    world.controller.push(*nodes)
    channel = world.channel(options=IDEMPOTENT)
    echo = channel.unary_unary("/t.T/Echo")
    count = channel.unary_stream("/t.T/Count")
    echo(b"", timeout=60)
    stop = threading.Event()
    failed, done = [], []

    def load(n):
        while not stop.is_set():
            try:
                if n % 3 == 0:
                    echo.future(b"1", timeout=60).result()
                elif n % 3 == 1:
                    echo(b"1", timeout=60)
                else:
                    next(count(b"1", timeout=60))
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
        thread.join(60)
        assert not thread.is_alive()
    assert failed == []
    assert back.port == nodes[0].port
    world.until(lambda: busy(routes) == 0)


def test_with_every_node_dead_one_is_tried_and_its_error_told_with_the_context(pair, open_in_turn):
    channel = open_in_turn()
    pair.lost(channel, pair.a, pair.b)
    for call in CALLS.values():
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in caught.value.details()
        assert "service 'test'" in caught.value.details()
        assert "127.0.0.1" in caught.value.details()


@every_call
def test_with_every_node_dead_a_call_that_waits_for_ready_waits(pair, open_in_turn, call):
    channel = open_in_turn()
    nodes = channel._group.routes.nodes.values()
    pair.lost(channel, pair.a, pair.b)

    def told_that_all_refuse():  # unless the time is over before the first refusal
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, timeout=0.3, wait_for_ready=True)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return "refuse" in caught.value.details()

    def refusals():
        return sum(n.refused for n in nodes)

    pair.until(told_that_all_refuse)
    with futures.ThreadPoolExecutor(1) as pool:
        before = refusals()
        answer = pool.submit(call, channel, wait_for_ready=True)
        pair.until(lambda: refusals() > before + 4, "both nodes refuse, and again")
        pair.b.start()
        assert answer.result(60).startswith((b"1", b"0"))


@every_call
def test_with_every_node_dead_a_call_waits_if_others_start(pair, open_in_turn, call):
    pair.controller.push(pair.a, pair.b, starting=True)
    channel = open_in_turn()
    routes = channel._group.routes
    pair.until(lambda: routes.starting)
    nodes = list(routes.nodes.values())
    pair.lost(channel, pair.a, pair.b)
    with futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, channel)
        pair.until(lambda: sum(n.refused for n in nodes) > 4, "both nodes refuse, and again")
        pair.controller.push(pair.a, pair.b, pair.add_node("c"))
        assert answer.result(60).startswith((b"1", b"0"))


def test_a_controller_that_has_gone_is_not_believed_that_nodes_start(pair, open_in_turn):
    pair.controller.push(pair.a, pair.b, starting=True)
    channel = open_in_turn()
    routes = channel._group.routes
    pair.until(lambda: routes.starting)
    pair.controller.stop()
    pair.until(lambda: not routes.starting)
    pair.lost(channel, pair.a, pair.b)
    for call in CALLS.values():
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_requests_read_before_a_refusal_are_not_lost(pair, open_in_turn):
    channel = open_in_turn()
    pair.lost(channel, pair.a)
    sent = []

    def requests():
        for n in range(50):
            sent.append(n)
            yield b"%d" % n

    for _ in range(4):
        sent.clear()
        answer = channel.stream_unary("/t.T/Join")(requests(), timeout=60)
        assert answer == b",".join(b"%d" % n for n in range(50))
        assert sent == list(range(50))


def test_a_wait_for_ready_in_the_service_config_is_the_stubs_own(pair, open_in_turn):
    waits, ends = {"service": "t.T"}, {"service": "t.T", "method": "Count"}
    config = {
        "methodConfig": [
            {"name": [waits], "waitForReady": True},
            {"name": [ends], "waitForReady": True, "timeout": "0.2s"},
        ]
    }
    channel = open_in_turn([("grpc.service_config", json.dumps(config))])
    pair.lost(channel, pair.a)
    for _ in range(4):
        assert channel.unary_unary("/t.T/Echo")(b"1") == b"1"
    pair.b.gate.clear()
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream("/t.T/Count")(b"1"))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    pair.b.gate.set()
