"""What the model server says of itself: ORCA, out of band (extra ``meshlb[orca]``).

Standard fields from any ORCA server; in flight, queue, tokens and latencies from those that use
``meshlb.orca``, under its documented keys. Other named metrics are passed on as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import grpc
import grpc.aio
import structlog

from meshlb.model import LatencyBucket
from meshlb.orca import keys
from sidecar.probes import Node

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
MAX_NAMED = 64
AGAIN_S = 1.0
_COUNTS = {
    keys.IN_FLIGHT: "in_flight",
    keys.QUEUED: "queued",
    keys.SUCCEEDED: "succeeded",
    keys.FAILED: "failed",
    keys.TOKENS_IN: "tokens_in",
    keys.TOKENS_OUT: "tokens_out",
}
log = structlog.get_logger()


class Probe:
    """Follows the server's report stream; ``read`` gives the last report while it lasts."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> dict[str, Any]:
        """Return the fields of the last report; nothing while the server offers none."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        return self._last

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        try:
            from xds.data.orca.v3 import orca_load_report_pb2
            from xds.service.orca.v3 import orca_pb2
        except ImportError:
            log.info("orca_off", reason="xds-protos is not installed: pip install 'meshlb[orca]'")
            return
        async with grpc.aio.insecure_channel(
            self._node.address, [("grpc.max_reconnect_backoff_ms", 1000)]
        ) as channel:
            stream = channel.unary_stream(
                METHOD,
                request_serializer=orca_pb2.OrcaLoadReportRequest.SerializeToString,
                response_deserializer=orca_load_report_pb2.OrcaLoadReport.FromString,
            )
            while True:
                interval_s = self._node.interval_s
                request = orca_pb2.OrcaLoadReportRequest()
                request.report_interval.FromNanoseconds(int(interval_s * 1e9))
                call = stream(request)
                try:
                    async for report in call:
                        self._last = fields(report)
                        if self._node.interval_s != interval_s:
                            call.cancel()
                            break
                except grpc.aio.AioRpcError as error:
                    self._last = {}
                    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                        await _until_another_connection(channel)
                except asyncio.CancelledError:
                    if not call.cancelled():
                        call.cancel()
                    raise
                await asyncio.sleep(AGAIN_S)


async def _until_another_connection(channel: grpc.aio.Channel) -> None:
    """Wait until the server was away: it never learns ORCA on this connection (A51)."""
    state = channel.get_state()
    while state is grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
        state = channel.get_state()


def fields(report: Any) -> dict[str, Any]:
    """Return the fields of ``model.LoadReport`` that a report tells; wrong ones are left out."""
    found: dict[str, Any] = {}
    if report.application_utilization > 0:
        found["application"] = report.application_utilization
    if report.rps_fractional > 0:
        found["requests_per_s"] = report.rps_fractional
        found["errors_per_s"] = max(0.0, report.eps)
    counts: dict[int, float] = {}
    sums: dict[int, float] = {}
    named: dict[str, float] = {}
    for key, value in report.named_metrics.items():
        if not math.isfinite(value):
            continue
        if key.startswith(keys.LATENCY_COUNT):
            _put(counts, key.removeprefix(keys.LATENCY_COUNT), value)
        elif key.startswith(keys.LATENCY_SUM_S):
            _put(sums, key.removeprefix(keys.LATENCY_SUM_S), value)
        elif key in _COUNTS and value >= 0:
            found[_COUNTS[key]] = int(value)
        elif key == keys.TTFT_S and value >= 0:
            found["time_to_first_token_s"] = value
        elif not key.startswith(keys.PREFIX) and len(named) < MAX_NAMED and 0 < len(key) <= 128:
            named[key] = value
    if counts:
        found["latency"] = tuple(
            LatencyBucket(at, int(counts[at]), sums[at])
            for at in sorted(counts)
            if at in sums and counts[at] >= 0 and sums[at] >= 0
        )
    if named:
        found["named_metrics"] = named
    return found


def _put(into: dict[int, float], at: str, value: float) -> None:
    if at.isascii() and at.isdigit():
        into[int(at)] = value
