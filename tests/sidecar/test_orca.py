"""Figures that a model server tells of itself reach the controllers; wrong ones do no harm."""

import asyncio

import grpc
import pytest

from meshlb.model import LatencyBucket
from meshlb.orca import LoadRecorder, add_service, keys
from sidecar.probes import orca

orca_load_report_pb2 = pytest.importorskip("xds.data.orca.v3.orca_load_report_pb2")
Report = orca_load_report_pb2.OrcaLoadReport


def stream_of(behaviour):
    """Return a set-up that serves ORCA by an async generator function of (request, context)."""
    from xds.service.orca.v3 import orca_pb2

    handler = grpc.unary_stream_rpc_method_handler(
        behaviour,
        request_deserializer=orca_pb2.OrcaLoadReportRequest.FromString,
        response_serializer=Report.SerializeToString,
    )
    service, _, method = orca.METHOD[1:].partition("/")
    return lambda server: server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )


def test_the_figures_of_a_recorder_arrive_and_follow_it(loopback):
    async def run():
        recorder = LoadRecorder(slots=3)
        recorder.set_utilization(0.75)
        recorder.set_metric("batch", 4.0)
        tickets = [recorder.begin(1.0, lambda: None) for _ in range(4)]
        async with (
            loopback.model_server(lambda server: add_service(server, recorder)) as server,
            loopback.controller() as controller,
            loopback.agent(controller, node=server.address),
        ):
            report = await controller.until(lambda r: r.in_flight_count == 4, "in flight")
            assert report.queued_count == 1
            assert report.application_utilization == 0.75
            assert report.named_metrics == {"batch": 4.0}
            assert report.node.slot_count == 3  # not declared, so the server is believed
            for ticket in tickets:
                ticket.end(True, 1.5)
            report = await controller.until(lambda r: r.succeeded_count == 4, "succeeded")
            assert report.in_flight_count == 0
            assert report.HasField("in_flight_count")
            assert sum(bucket.call_count for bucket in report.latency) == 4
            # A server that has gone leaves nothing behind that could pass for its state.
            await server.stop(0)
            await controller.until(lambda r: not r.HasField("in_flight_count"), "unknown")

    asyncio.run(run())


def test_a_declared_number_of_slots_stands_and_wrong_figures_stop_no_report(loopback):
    async def nonsense(request, context):
        while True:
            yield Report(
                application_utilization=float("nan"),
                rps_fractional=float("inf"),
                eps=-1,
                mem_utilization=7,
                named_metrics={keys.SLOTS: 9, keys.IN_FLIGHT: 1e300, keys.QUEUED: 2, "x" * 200: 1}
                | {f"m{n}": n for n in range(200)},
            )
            await asyncio.sleep(0.01)

    async def run():
        async with (
            loopback.model_server(stream_of(nonsense)) as server,
            loopback.controller() as controller,
            loopback.agent(controller, node=server.address, slots=5),
        ):
            report = await controller.until(lambda r: r.queued_count == 2, "queued")
            assert report.node.slot_count == 5
            assert not report.HasField("application_utilization")
            assert not report.HasField("requests_per_second")
            assert not report.HasField("in_flight_count")
            assert report.host_memory_utilization == 1.0
            assert len(report.named_metrics) == 64

    asyncio.run(run())


def test_a_server_without_orca_is_asked_once_a_connection(loopback):
    asked = []

    async def refuse(request, context):
        asked.append(request)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no")
        yield

    async def run():
        async with (
            loopback.model_server(stream_of(refuse)) as server,
            loopback.controller() as controller,
            loopback.agent(controller, node=server.address),
        ):
            await loopback.until(lambda: asked and len(controller.reports) > 30)
            assert len(asked) == 1
            await server.stop(0)
            port = server.address.rpartition(":")[2]
            async with loopback.model_server(stream_of(refuse), port=port):
                await loopback.until(lambda: len(asked) == 2)

    asyncio.run(run())


def test_the_servers_interval_follows_the_shortest_ordered(loopback):
    asked = []

    async def note(request, context):
        asked.append(request.report_interval.ToMilliseconds())
        while True:
            yield Report(rps_fractional=1)
            await asyncio.sleep(0.01)

    async def run():
        async with (
            loopback.model_server(stream_of(note)) as server,
            loopback.controller(interval_s=0.5) as slow,
            loopback.controller(interval_s=0.05) as fast,
            loopback.agent(slow, fast, node=server.address),
        ):
            await loopback.until(lambda: asked[-1:] == [50])
            await fast.stop()
            await loopback.until(lambda: asked[-1:] == [500])

    asyncio.run(run())


def test_latency_keys_become_buckets_and_half_ones_do_not():
    report = Report(
        cpu_utilization=1.7,
        rps_fractional=20,
        eps=2,
        named_metrics={
            f"{keys.LATENCY_COUNT}3": 10,
            f"{keys.LATENCY_SUM_S}3": 2.5,
            f"{keys.LATENCY_COUNT}0": 4,
            f"{keys.LATENCY_SUM_S}0": 0.5,
            f"{keys.LATENCY_COUNT}7": 1,  # its sum is missing
            f"{keys.LATENCY_SUM_S}{'9' * 5000}": 1,
            f"{keys.LATENCY_COUNT}x": 1,
            f"{keys.PREFIX}of_the_future": 1,
            keys.TTFT_S: 0.25,
            keys.TOKENS_OUT: 12,
        },
    )
    assert orca.fields(report) == {
        "host_cpu": 1.0,
        "requests_per_s": 20.0,
        "errors_per_s": 2.0,
        "latency": (LatencyBucket(0, 4, 0.5), LatencyBucket(3, 10, 2.5)),
        "time_to_first_token_s": 0.25,
        "tokens_out": 12,
    }
    assert orca.fields(Report()) == {}
