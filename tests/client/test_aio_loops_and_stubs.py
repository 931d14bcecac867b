"""Event loops that come, go and stand side by side, and stubs that others generated."""

import asyncio
import threading

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

import meshlb


def test_a_channel_made_outside_of_any_loop_serves_one_run_after_another(world):
    node = world.add_node()
    world.controller.push(node)
    channel = meshlb.aio.insecure_channel(world.target())
    echo = channel.unary_unary("/t.T/Echo")

    async def ask(text):
        return await echo(text, timeout=60)

    async def end():
        await channel.close()

    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    assert [asyncio.run(ask(b"%d" % n)) for n in range(3)] == [b"0", b"1", b"2"]
    asyncio.run(end())
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


def test_two_loops_in_two_threads_call_side_by_side(world):
    nodes = [world.add_node(name) for name in "ab"]
    world.controller.push(*nodes)
    answers, groups = [], []
    together = threading.Barrier(2, timeout=60)

    async def load():
        async with meshlb.aio.insecure_channel(world.target()) as channel:
            echo = channel.unary_unary("/t.T/Echo")
            await echo(b"", timeout=60)
            groups.append(channel._here.group)
            together.wait()
            answers.extend(await asyncio.gather(*(echo(b"1", timeout=60) for _ in range(50))))

    threads = [threading.Thread(target=asyncio.run, args=(load(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [b"1"] * 100
    assert groups[0] is not groups[1]


def test_a_channel_is_of_one_loop_at_a_time(world):
    world.controller.push(world.add_node())

    async def first():
        async with meshlb.aio.insecure_channel(world.target()) as channel:
            echo = channel.unary_unary("/t.T/Echo")
            assert await echo(b"1", timeout=60) == b"1"

            async def second():
                return await echo(b"2", timeout=60)

            with pytest.raises(grpc.aio.UsageError, match="loop"):
                await asyncio.to_thread(asyncio.run, second())
            assert await echo(b"3", timeout=60) == b"3"

    asyncio.run(first())


def test_channels_of_one_loop_share_what_they_know(world):
    world.controller.push(world.add_node())

    async def main():
        async with (
            meshlb.aio.insecure_channel(world.target()) as one,
            meshlb.aio.insecure_channel(world.target()) as two,
        ):
            for channel in (one, two):
                assert await channel.unary_unary("/t.T/Echo")(b"1", timeout=60) == b"1"
            assert one._here.group is two._here.group
            await one.close()
            assert await two.unary_unary("/t.T/Echo")(b"2", timeout=60) == b"2"

    asyncio.run(main())
    assert len(world.controller.subscribed) == 1


def test_health_and_reflection_stubs_work_unchanged(world):
    node = world.add_node()
    node.stop()

    def register(server):
        servicer = health.HealthServicer()
        servicer.set("x", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection(["x", reflection.SERVICE_NAME], server)

    node.extra = register
    node.start()
    world.controller.push(node)
    request = health_pb2.HealthCheckRequest(service="x")
    serving = health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2.ServerReflectionRequest(list_services="")

    async def asked():
        yield listing

    async def main():
        async with meshlb.aio.insecure_channel(world.target()) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(request, timeout=60)).status == serving
            watch = stub.Watch(request)
            assert (await watch.read()).status == serving
            watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="unknown"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
            async for answer in reflect(asked()):
                assert "x" in [s.name for s in answer.list_services_response.service]
            call = reflect()
            await call.write(listing)
            assert "x" in [s.name for s in (await call.read()).list_services_response.service]
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    asyncio.run(main())
