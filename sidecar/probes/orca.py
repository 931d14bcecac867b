"""What the model server says of itself: ORCA, out of band (gRFC A51; extra ``meshlb[orca]``).

Standard fields from any ORCA server; in flight, queue, tokens and latencies from those that use
``meshlb.orca``, under its documented keys. Other named metrics are passed on as they are.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import grpc
import grpc.aio
import structlog

from meshlb.model import LatencyBucket
from meshlb.orca import keys
from sidecar import dial
from sidecar.probes import Node

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
MAX_NAMED, MAX_BUCKETS = 64, 256
MOST = 2.0**53
"""Figures above cannot be right, and would not fit into a report."""
AGAIN_S = 1.0
FRESH_S, FRESH_GAPS = 2.0, 3
"""A report counts until this many of the gaps between reports have passed without the next one."""
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 1000), ("grpc.enable_http_proxy", 0))
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
    """Follows the server's report stream; ``read`` gives the last report while it is fresh."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last: Any = None
        self._last_at = 0.0
        self._fresh_s = FRESH_S
        self._decoded: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        try:
            from xds.data.orca.v3 import orca_load_report_pb2
            from xds.service.orca.v3 import orca_pb2
        except ImportError:
            log.info("orca_off", reason="xds-protos is not installed: pip install 'meshlb[orca]'")
            self._messages: tuple[Any, Any] | None = None
        else:
            self._messages = orca_pb2.OrcaLoadReportRequest, orca_load_report_pb2.OrcaLoadReport

    async def read(self) -> dict[str, Any]:
        """Return the fields of the last report; nothing while the server offers none."""
        if self._messages is None:
            return {}
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            self._forget()
            task.result()
        if self._task is None:
            self._task = asyncio.create_task(self._follow(*self._messages))
        if time.monotonic() - self._last_at > self._fresh_s:
            return {}
        if self._last is not None:
            self._decoded, self._last = fields(self._last), None
        return self._decoded

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, request_type: Any, report_type: Any) -> None:
        async with dial.server(self._node, _OPTIONS) as channel:
            stream = channel.unary_stream(
                METHOD,
                request_serializer=request_type.SerializeToString,
                response_deserializer=report_type.FromString,
            )
            while True:
                try:
                    if await self._take(stream, request_type()):
                        continue  # only the interval has changed
                    self._forget()
                except grpc.aio.AioRpcError as error:
                    self._forget()
                    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                        await _until_another_connection(channel)
                await asyncio.sleep(AGAIN_S)

    async def _take(self, stream: Any, request: Any) -> bool:
        """Take reports until the stream ends (False), or another interval is wanted (True)."""
        interval_s = self._node.interval_s
        request.report_interval.FromNanoseconds(int(interval_s * 1e9))
        call = stream(request)
        try:
            async for report in call:
                now = time.monotonic()
                gap_s = now - self._last_at if self._last_at else 0.0
                self._last, self._last_at = report, now
                self._fresh_s = max(FRESH_S, FRESH_GAPS * max(gap_s, interval_s))
                if self._node.interval_s != interval_s:
                    return True
        finally:
            call.cancel()
        return False

    def _forget(self) -> None:
        self._last, self._last_at, self._decoded = None, 0.0, {}


async def _until_another_connection(channel: grpc.aio.Channel) -> None:
    """Wait until the server was away: it never learns ORCA on this connection (A51)."""
    state = channel.get_state()
    while state is grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
        state = channel.get_state()


def fields(report: Any) -> dict[str, Any]:
    """Return the fields of ``model.LoadReport`` that an OrcaLoadReport tells.

    Figures that cannot be right (NaN, negative, beyond ``MOST``) are left out. ORCA cannot tell
    zero from unknown in its own fields, so a zero there is unknown; the rate of errors is known
    where that of requests is.
    """
    found: dict[str, Any] = {}
    if 0 < report.application_utilization <= MOST:
        found["application"] = report.application_utilization
    if 0 < report.cpu_utilization <= MOST:
        found["host_cpu"] = min(1.0, report.cpu_utilization)
    if 0 < report.mem_utilization <= MOST:
        found["host_memory"] = min(1.0, report.mem_utilization)
    if 0 < report.rps_fractional <= MOST:
        found["requests_per_s"] = report.rps_fractional
        if 0 <= report.eps <= MOST:
            found["errors_per_s"] = report.eps
    counts: dict[int, float] = {}
    sums: dict[int, float] = {}
    named: dict[str, float] = {}
    for key, value in report.named_metrics.items():
        if not key.startswith(keys.PREFIX):
            if math.isfinite(value) and len(named) < MAX_NAMED and 0 < len(key) <= 128:
                named[key] = value
        elif not 0 <= value <= MOST:
            continue
        elif key.startswith(keys.LATENCY_COUNT):
            _put(counts, key.removeprefix(keys.LATENCY_COUNT), value)
        elif key.startswith(keys.LATENCY_SUM_S):
            _put(sums, key.removeprefix(keys.LATENCY_SUM_S), value)
        elif key in _COUNTS:
            found[_COUNTS[key]] = int(value)
        elif key == keys.TTFT_S:
            found["time_to_first_token_s"] = value
        elif key == keys.SLOTS and 1 <= value <= 1_000_000:
            found["slots"] = int(value)
    if counts:
        both = sorted(counts.keys() & sums.keys())
        found["latency"] = tuple(
            LatencyBucket(at, int(counts[at]), sums[at]) for at in both[:MAX_BUCKETS]
        )
    if named:
        found["named_metrics"] = named
    return found


def _put(into: dict[int, float], at: str, value: float) -> None:
    if at.isascii() and at.isdigit() and len(at) <= 9:
        into[int(at)] = value
