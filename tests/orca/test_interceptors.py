"""Real servers of both kinds, all four arities: in flight is what runs, to its last message."""

import asyncio
import threading
import time
from concurrent import futures

import grpc
import pytest
from xds.data.orca.v3 import orca_load_report_pb2
from xds.service.orca.v3 import orca_pb2

from meshlb import orca
from meshlb.orca import keys
from meshlb.orca.service import METHOD, SERVICE
from tests.waiting import until

ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Script:
    """What handlers do: wait at the gate, fail if told so."""

    def __init__(self):
        self.gate = threading.Event()
        self.fail = False
        self.seen = []

    def one(self, request, context):
        if not isinstance(request, bytes):
            request = b"".join(request)
        self.seen.append(orca.current())
        self.gate.wait(100)
        if self.fail:
            context.abort(grpc.StatusCode.INTERNAL, "told to fail")
        orca.current().add_tokens(generated=2)
        return request

    def many(self, request, context):
        if not isinstance(request, bytes):
            request = b"".join(request)
        yield request
        self.gate.wait(100)
        if self.fail:
            raise RuntimeError("told to fail")
        yield request

    async def aio_one(self, request, context):
        if not isinstance(request, bytes):
            request = b"".join([part async for part in request])
        self.seen.append(orca.current())
        await self._wait()
        if self.fail:
            await context.abort(grpc.StatusCode.INTERNAL, "told to fail")
        orca.current().add_tokens(generated=2)
        return request

    async def aio_many(self, request, context):
        if not isinstance(request, bytes):
            request = b"".join([part async for part in request])
        yield request
        await self._wait()
        if self.fail:
            raise RuntimeError("told to fail")
        yield request

    async def _wait(self):
        while not self.gate.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.002)

    def handlers(self, prefix):
        def handler(arity):
            many = arity.endswith("stream")
            behaviour = getattr(self, f"{prefix}{'many' if many else 'one'}")
            return getattr(grpc, f"{arity}_rpc_method_handler")(behaviour)

        return (grpc.method_handlers_generic_handler("t.T", {a: handler(a) for a in ARITIES}),)


@pytest.fixture(params=["threads", "asyncio"])
def served(request):
    """A started server of either kind: its script, its recorder, and a channel to it."""
    script = Script()
    made = []

    def serve(**recorder_args):
        recorder = orca.LoadRecorder(**recorder_args)
        kind = _Threads if request.param == "threads" else _Asyncio
        server = kind(script, recorder)
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        made.extend((channel.close, server.stop))
        return script, recorder, channel

    yield serve
    script.gate.set()
    for close in made:
        close()


class _Threads:
    def __init__(self, script, recorder):
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            handlers=script.handlers(""),
            interceptors=[orca.server_interceptor(recorder)],
        )
        orca.add_service(self._server, recorder)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self):
        self._server.stop(0).wait()


class _Asyncio:
    def __init__(self, script, recorder):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(script, recorder), self._loop).result(60)

    async def _start(self, script, recorder):
        self._server = grpc.aio.server(interceptors=[orca.aio_server_interceptor(recorder)])
        self._server.add_generic_rpc_handlers(script.handlers("aio_"))
        orca.add_service(self._server, recorder)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def call(channel, arity):
    """Begin a call of an arity; return it running."""
    multi = getattr(channel, arity)(f"/t.T/{arity}")
    request = iter([b"a", b"b"]) if arity.startswith("stream") else b"ab"
    return multi(request) if arity.endswith("stream") else multi.future(request)


def now(recorder):
    return recorder.snapshot(time.monotonic())


@pytest.mark.parametrize("arity", ARITIES)
def test_a_call_is_in_flight_to_its_last_message(served, arity):
    script, recorder, channel = served()
    running = call(channel, arity)
    if arity.endswith("stream"):
        next(running)
    until(lambda: now(recorder).in_flight == 1)
    script.gate.set()
    if arity.endswith("stream"):
        assert list(running) == [b"ab"]
    else:
        assert running.result() == b"ab"

    until(lambda: now(recorder).in_flight == 0)
    seen = now(recorder)
    assert (seen.succeeded, seen.failed) == (1, 0)
    assert seen.latency[0][0] == 1


@pytest.mark.parametrize("arity", ARITIES)
def test_a_call_that_fails_counts_as_failed(served, arity):
    script, recorder, channel = served()
    script.fail = True
    script.gate.set()
    running = call(channel, arity)
    finish = (lambda: list(running)) if arity.endswith("stream") else running.result
    with pytest.raises(grpc.RpcError):
        finish()

    until(lambda: now(recorder).failed == 1)
    assert (now(recorder).in_flight, now(recorder).succeeded) == (0, 0)


@pytest.mark.parametrize("arity", ["unary_stream", "stream_stream"])
def test_a_stream_that_its_client_drops_is_no_longer_in_flight(served, arity):
    script, recorder, channel = served()
    running = call(channel, arity)
    next(running)
    until(lambda: now(recorder).in_flight == 1)
    running.cancel()

    # At once, though its handler is held: a thread's cannot even be told to stop.
    until(lambda: now(recorder).in_flight == 0)
    assert now(recorder).failed == 1
    script.gate.set()


def test_slots_are_enforced_and_a_call_that_gives_up_leaves_the_queue(served):
    script, recorder, channel = served(slots=2)
    calls = [call(channel, "unary_unary") for _ in range(2)]
    until(lambda: len(script.seen) == 2)
    calls += [call(channel, "unary_unary") for _ in range(3)]
    until(lambda: now(recorder).in_flight == 5)
    assert (now(recorder).queued, len(script.seen)) == (3, 2)

    calls.pop().cancel()
    until(lambda: now(recorder).in_flight == 4)
    assert (now(recorder).queued, len(script.seen)) == (2, 2)
    script.gate.set()
    for one in calls:
        assert one.result() == b"ab"

    until(lambda: now(recorder).in_flight == 0)


def test_a_full_queue_is_told_with_a_push_back(served):
    script, recorder, channel = served(slots=1, max_queued=0)
    running = call(channel, "unary_unary")
    until(lambda: now(recorder).in_flight == 1)

    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "unary_unary").result()

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details().startswith("QUEUE_FULL: ")
    assert ("grpc-retry-pushback-ms", "100") in caught.value.trailing_metadata()
    script.gate.set()
    running.result()


def test_a_stock_client_reads_the_standard_service(served):
    script, recorder, channel = served(slots=8)
    script.gate.set()
    call(channel, "unary_unary").result()
    recorder.set_utilization(0.75)
    recorder.set_metric("depth", 3)
    until(lambda: now(recorder).in_flight == 0)
    stream = channel.unary_stream(
        f"/{SERVICE}/{METHOD}",
        request_serializer=orca_pb2.OrcaLoadReportRequest.SerializeToString,
        response_deserializer=orca_load_report_pb2.OrcaLoadReport.FromString,
    )
    request = orca_pb2.OrcaLoadReportRequest()
    request.report_interval.FromMilliseconds(50)
    reports = stream(request)
    first, second = next(reports), next(reports)

    assert first.application_utilization == 0.75
    assert second.named_metrics["depth"] == 3
    assert second.named_metrics[keys.SLOTS] == 8
    assert second.named_metrics[keys.TOKENS_OUT] == 2
    assert second.named_metrics[keys.IN_FLIGHT] == 0  # reading reports is no work
    latest = second
    while not latest.rps_fractional:  # it is of the last 10 s, which a slow machine lets pass
        call(channel, "unary_unary").result()
        latest = next(reports)
    reports.cancel()


def test_what_handlers_may_add_is_reached_from_within_the_call(served):
    script, recorder, channel = served()
    script.gate.set()
    call(channel, "unary_unary").result()

    assert isinstance(script.seen[0], orca.Ticket)
    assert orca.current() is None
    assert now(recorder).tokens_out == 2
