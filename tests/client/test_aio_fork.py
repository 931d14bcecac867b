"""An asyncio channel made before a fork serves the child, if none is open at that moment."""

import os
import subprocess
import sys

FORKED = """
import asyncio, os, sys, traceback
import meshlb

channel = meshlb.aio.insecure_channel(sys.argv[1])
echo = channel.unary_unary("/t.T/Echo")

async def early():
    async with meshlb.aio.insecure_channel(sys.argv[1]) as before:
        assert await before.unary_unary("/t.T/Echo")(b"early", timeout=60) == b"early"

async def ask(text):
    assert await echo(text, timeout=60) == text
    assert [m async for m in channel.unary_stream("/t.T/Count")(b"2", timeout=60)] == [b"0", b"1"]
    await channel.close()

if sys.argv[2] == "closed":
    asyncio.run(early())
pid = os.fork()
if pid == 0:
    code = 1
    try:
        asyncio.run(ask(b"child"))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
asyncio.run(ask(b"parent"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def fork_after(world, what):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, world.target(), what],
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"},
        timeout=100,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def test_a_channel_that_was_not_used_yet_serves_the_forked_child(world):
    world.controller.push(world.add_node("a"), world.add_node("b"))
    fork_after(world, "nothing")
    assert len({s.client_id for s in world.controller.subscribed}) == 2


def test_a_channel_that_was_closed_leaves_nothing_that_forbids_a_fork(world):
    world.controller.push(world.add_node("a"), world.add_node("b"))
    fork_after(world, "closed")
