"""asyncio calls of every arity and style, for tests that are the same for all."""

import grpc
import grpc.aio
import pytest

from tests.client.channel_options import LONG
from tests.waiting import until_aio


def routes_of(channel):
    return channel._here.group.routes


async def all_ready(channel):
    """Wait until every node of the table is connected."""
    nodes = routes_of(channel).nodes
    await until_aio(
        lambda: (
            channel.get_state(try_to_connect=True)
            and all(n.link_state.value == "ready" for n in nodes.values())
        ),
        "all nodes are connected",
    )


async def given(*requests):
    for request in requests:
        yield request


async def echo(channel, **how):
    return await channel.unary_unary("/t.T/Echo")(b"1", **LONG | how)


async def count(channel, **how):
    call = channel.unary_stream("/t.T/Count")(b"1", **LONG | how)
    return b"".join([m async for m in call])


async def count_read(channel, **how):
    return await channel.unary_stream("/t.T/Count")(b"1", **LONG | how).read()


async def join(channel, **how):
    return await channel.stream_unary("/t.T/Join")(given(b"1", b"2"), **LONG | how)


async def join_written(channel, **how):
    call = channel.stream_unary("/t.T/Join")(**LONG | how)
    await call.write(b"1")
    await call.write(b"2")
    await call.done_writing()
    return await call


async def chat(channel, **how):
    call = channel.stream_stream("/t.T/Chat")(given(b"1", b"2"), **LONG | how)
    return b",".join([m async for m in call])


async def chat_written(channel, **how):
    call = channel.stream_stream("/t.T/Chat")(**LONG | how)
    await call.write(b"1")
    await call.done_writing()
    answer = await call.read()
    assert await call.read() is grpc.aio.EOF
    return answer


CALLS = (echo, count, count_read, join, join_written, chat, chat_written)
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
# Whoever writes may be told first that the call has ended.
GIVEN = (echo, count, count_read, join, chat)
every_given_call = pytest.mark.parametrize("call", GIVEN, ids=lambda call: call.__name__)


async def error_of(call, channel, **how):
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, **how)
    return caught.value
