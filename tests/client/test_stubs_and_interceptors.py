"""Stubs that others generated, and gRPC's interceptors, over a channel of ours."""

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tests.client.fakes import aborting


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
    with world.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        request = health_pb2.HealthCheckRequest(service="x")
        assert stub.Check(request, timeout=60).status == serving
        assert stub.Check.with_call(request)[0].status == serving
        assert stub.Check.future(request).result(60).status == serving
        watch = stub.Watch(request)
        assert next(watch).status == serving
        watch.cancel()
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked))
        assert "x" in [s.name for s in answer.list_services_response.service]


class Counting(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self):
        self.seen = []

    def _intercept(self, continuation, details, request):
        self.seen.append(details.method)
        metadata = [*(details.metadata or ()), ("added", "1")]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = _intercept
    intercept_stream_unary = intercept_stream_stream = _intercept


@pytest.fixture
def intercepted(mesh):
    """Calls are refused by one of two nodes, so that there is more than one attempt."""
    mesh.it.unary_unary("/t.T/Echo")(b"", timeout=60)
    mesh.b.calls.clear()
    mesh.b.metadata.clear()
    mesh.lost(mesh.it, mesh.a)
    counting = Counting()
    return grpc.intercept_channel(mesh.it, counting), counting, mesh


CALLS = {
    "unary": lambda c: c.unary_unary("/t.T/Echo")(b"1", timeout=60),
    "with_call": lambda c: c.unary_unary("/t.T/Echo").with_call(b"1", timeout=60)[0],
    "future": lambda c: c.unary_unary("/t.T/Echo").future(b"1", timeout=60).result(),
    "unary_stream": lambda c: list(c.unary_stream("/t.T/Count")(b"1", timeout=60)),
    "stream_unary": lambda c: c.stream_unary("/t.T/Join")(iter([b"1"]), timeout=60),
    "stream_unary_future": lambda c: c.stream_unary("/t.T/Join").future(iter([b"1"])).result(),
    "stream_stream": lambda c: list(c.stream_stream("/t.T/Chat")(iter([b"1"]), timeout=60)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interceptor_runs_once_a_call_however_many_attempts(intercepted, call):
    channel, counting, mesh = intercepted
    for _ in range(3):
        assert call(channel)
    assert len(counting.seen) == 3
    assert len(mesh.b.calls) == 3
    assert all(m["added"] == "1" for m in mesh.b.metadata)


def test_an_interceptor_sees_errors_as_with_grpc(mesh):
    mesh.a.hook = mesh.b.hook = aborting(grpc.StatusCode.ABORTED, "no")
    channel = grpc.intercept_channel(mesh.it, Counting())
    for call in CALLS.values():
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code() is grpc.StatusCode.ABORTED


def test_an_intercepted_channel_subscribes_and_closes_the_mesh(mesh):
    channel = grpc.intercept_channel(mesh.it, Counting())
    grpc.channel_ready_future(channel).result(60)
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        mesh.it.unary_unary("/t.T/Echo")(b"")
