"""Channels of one process that want the same share it; a forked child begins anew."""

import os
import subprocess
import sys
import threading

import grpc
import pytest

import meshlb

FORKED = """
import os, sys, traceback
import grpc
import meshlb

channel = meshlb.insecure_channel(sys.argv[1])
echo = channel.unary_unary("/t.T/Echo")
assert echo(b"parent", timeout=60) == b"parent"
stream = channel.unary_stream("/t.T/Count")(b"1000000")
next(stream)
pid = os.fork()
if pid == 0:
    code = 1
    try:
        routes = channel._group.routes
        assert routes.client.in_flight == 0, routes.client.in_flight
        for _ in range(3):
            assert echo(b"child", timeout=60) == b"child"
        assert echo.future(b"child", timeout=60).result() == b"child"
        fresh = meshlb.insecure_channel(sys.argv[1])
        assert fresh.unary_unary("/t.T/Echo")(b"fresh", timeout=60) == b"fresh"
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
assert echo(b"parent", timeout=60) == b"parent"
assert next(stream)
stream.cancel()
channel.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_channel_used_in_a_forked_child_reopens_itself(world):
    world.controller.push(world.add_node("a"), world.add_node("b"))
    done = subprocess.run(
        [sys.executable, "-c", FORKED, world.target()],
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"},
        timeout=100,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert len({s.client_id for s in world.controller.subscribed}) == 2


CLOSES_NOTHING = """
import sys, meshlb
channel = meshlb.insecure_channel(sys.argv[1])
print(channel.unary_unary("/t.T/Echo")(b"1", timeout=60))
if len(sys.argv) > 2:
    stream = channel.unary_stream("/t.T/Count")(b"100000")
    next(stream)
"""
AIO_CLOSES_NOTHING = """
import asyncio, sys, meshlb
async def main():
    global channel, stream
    channel = meshlb.aio.insecure_channel(sys.argv[1])
    print(await channel.unary_unary("/t.T/Echo")(b"1", timeout=60))
    if len(sys.argv) > 2:
        stream = channel.unary_stream("/t.T/Count")(b"100000")
        await stream.read()
asyncio.run(main())
"""


def test_channels_to_one_target_share_counts_connections_and_subscription(world):
    node = world.add_node()
    world.controller.push(node)
    one, two = world.channel(), world.channel(options=[("meshlb.picker", "round_robin")])
    one.unary_unary("/t.T/Echo")(b"", timeout=60)
    two.unary_unary("/t.T/Echo")(b"", timeout=60)
    assert one._group is two._group
    assert len(world.controller.subscribed) == 1
    assert len(node.peers) == 1
    (seen,) = one._group.routes.nodes.values()
    assert seen.succeeded == 2


def test_closing_one_of_them_leaves_the_other_working(world):
    world.controller.push(world.add_node())
    one, two = world.channel(), world.channel()
    echo = two.unary_unary("/t.T/Echo")
    one.unary_unary("/t.T/Echo")(b"", timeout=60)
    stream = one.unary_stream("/t.T/Count")(b"100000")
    next(stream)
    kept = two.unary_stream("/t.T/Count")(b"100000")
    next(kept)
    one.close()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert next(kept) == b"1"
    kept.cancel()
    assert echo(b"1", timeout=60) == b"1"
    with pytest.raises(ValueError, match="closed"):
        one.unary_unary("/t.T/Echo")(b"")


def test_the_last_close_ends_threads_and_subscription(world):
    world.controller.push(world.add_node())
    channels = [world.channel() for _ in range(3)]
    for channel in channels:
        channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    ours = [t for t in threading.enumerate() if t.name.startswith("meshlb test")]
    assert ours
    for channel in channels:
        channel.close()
    world.until(lambda: not any(t.is_alive() for t in ours), "our threads end")
    world.until(lambda: world.controller.watchers == 0)


def test_a_channel_that_is_dropped_without_close_ends_too(world):
    world.controller.push(world.add_node())
    channel = meshlb.insecure_channel(world.target())
    channel.unary_unary("/t.T/Echo")(b"", timeout=60)
    world.until(lambda: world.controller.watchers == 1)
    del channel
    world.until(lambda: world.controller.watchers == 0)


@pytest.mark.parametrize("more", [[], ["with a stream"]])
@pytest.mark.parametrize("program", [CLOSES_NOTHING, AIO_CLOSES_NOTHING], ids=["sync", "asyncio"])
def test_a_program_that_closes_nothing_ends_all_the_same(world, program, more):
    """What is left is collected when no thread can be started any more."""
    world.controller.push(world.add_node())
    ended = subprocess.run(
        [sys.executable, "-c", program, world.target(), *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "b'1'\n", "")


def test_a_stub_outlives_the_name_of_its_channel(world):
    """Generated stubs hold multi-callables only, never the channel."""
    world.controller.push(world.add_node())
    echo = meshlb.insecure_channel(world.target()).unary_unary("/t.T/Echo")
    assert echo(b"1", timeout=60) == b"1"
    assert list(meshlb.insecure_channel(world.target()).unary_stream("/t.T/Count")(b"2")) == [
        b"0",
        b"1",
    ]


def test_other_credentials_or_services_are_other_groups(world):
    one = world.channel()
    other = meshlb.insecure_channel(world.target(service="other"))
    secure = meshlb.secure_channel(world.target(), grpc.ssl_channel_credentials())
    assert len({one._group, other._group, secure._group}) == 3
    other.close()
    secure.close()
