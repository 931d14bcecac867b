"""A stream at a server that is frozen midway goes on elsewhere, though no idle time is set."""

import signal
import threading

import pytest

from tests.client.channel_options import IDEMPOTENT, ROUND_ROBIN


def rest(request, received):
    left = int(request) - len(received)
    return b"%d" % left if left else None


@pytest.mark.timeout(200)
def test_a_stream_leaves_a_frozen_server(world):
    nodes = {name: world.add_process(name, delay_s=0.01) for name in "ab"}
    world.controller.push(*nodes.values())
    hook = ("meshlb.resume", {"/t.T/Count": rest})
    channel = world.channel(options=[*ROUND_ROBIN, *IDEMPOTENT, hook])
    echo = channel.unary_unary("/t.T/Echo")
    echo(b"", timeout=100)
    routes = channel._group.routes
    world.until(lambda: all(n.link_state.value == "ready" for n in routes.nodes.values()))

    stream = channel.unary_stream("/t.T/Count")(b"60", timeout=150)
    got = [next(stream) for _ in range(3)]
    at = stream._course._attempt[0].info.node_id
    nodes[at].process.send_signal(signal.SIGSTOP)
    ended, calls = threading.Event(), []

    def call_on():
        while not ended.is_set():
            calls.append(echo.future(b"1", timeout=100))  # one that is dropped is cancelled
            ended.wait(0.05)

    others = threading.Thread(target=call_on, daemon=True)
    others.start()
    try:
        got += list(stream)
    finally:
        ended.set()
        others.join()
        nodes[at].process.send_signal(signal.SIGCONT)
    assert len(got) == 60
    assert stream.code().name == "OK"
