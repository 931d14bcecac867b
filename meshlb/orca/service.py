"""The standard ORCA service for Python servers: out-of-band load reports over one stream.

``xds.service.orca.v3.OpenRcaService`` (gRFC A51). xds-protos has its messages but no stub, so the
method's handler is written here. Any ORCA client may read it: gRPC's weighted_round_robin, Envoy,
the meshlb sidecar.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
import psutil

from meshlb.errors import InvalidInputError, MissingExtraError
from meshlb.orca.recorder import LoadRecorder, Snapshot
from meshlb.v1 import slots_pb2, slots_pb2_grpc

SERVICE = "xds.service.orca.v3.OpenRcaService"
METHOD = "StreamCoreMetrics"
DEFAULT_INTERVAL_S = 30.0
"""For clients that ask for none (A51)."""


def add_service(
    server: grpc.Server | grpc.aio.Server, recorder: LoadRecorder, min_interval_s: float = 0.05
) -> None:
    """Serve the recorder's figures on a server, of threads or of asyncio, before it starts.

    With them ``meshlb.v1.SlotService``, for the sidecar to set the slots.

    A client gets reports as often as it asks for, not below ``min_interval_s`` seconds. On a
    server of threads each reader holds one of its workers, so give it one more. Raises
    MissingExtraError without xds-protos.
    """
    if not 0.01 <= min_interval_s <= 3600:
        raise InvalidInputError(f"min_interval_s = {min_interval_s}: from 0.01 to 3600 seconds")
    request_type, report_type = _messages()

    def interval_s(request: Any) -> float:
        asked: float = request.report_interval.seconds + request.report_interval.nanos / 1e9
        return max(min_interval_s, asked if asked > 0 else DEFAULT_INTERVAL_S)

    def report() -> Any:
        return to_message(recorder.snapshot(time.monotonic()), report_type)

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        while not gone.is_set():
            yield report()
            gone.wait(interval_s(request))

    async def aio_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        del context
        while True:
            yield report()
            await asyncio.sleep(interval_s(request))

    is_aio = isinstance(server, grpc.aio.Server)
    handler = grpc.unary_stream_rpc_method_handler(
        aio_stream if is_aio else stream,
        request_deserializer=request_type.FromString,
        response_serializer=report_type.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
    )
    slots_pb2_grpc.add_SlotServiceServicer_to_server(_SlotService(recorder), server)


class _SlotService(slots_pb2_grpc.SlotServiceServicer):
    """Lets the sidecar beside set the slots; on a server of asyncio it may run in a thread."""

    def __init__(self, recorder: LoadRecorder) -> None:
        self._recorder = recorder

    def SetSlots(  # noqa: N802
        self, request: slots_pb2.SetSlotsRequest, context: grpc.ServicerContext
    ) -> slots_pb2.SetSlotsResponse:
        """Set the slots, if it is this machine that asks."""
        # Under an interceptor of asyncio ``abort`` is a coroutine, and what follows would run.
        if not _of_this_machine(context.peer()):
            context.set_code(grpc.StatusCode.PERMISSION_DENIED)
            context.set_details("NOT_LOCAL: slots are set from this machine only, by the sidecar")
            return slots_pb2.SetSlotsResponse()
        try:
            before = self._recorder.set_slots(request.slot_count)
        except InvalidInputError as error:
            enforced = error.reason != "NOT_ENFORCED"
            context.set_code(
                grpc.StatusCode.INVALID_ARGUMENT
                if enforced
                else grpc.StatusCode.FAILED_PRECONDITION
            )
            context.set_details(f"{error.reason}: {error}")
            return slots_pb2.SetSlotsResponse()
        return slots_pb2.SetSlotsResponse(previous_slot_count=before)


def _of_this_machine(peer: str) -> bool:
    """Return whether a peer, as gRPC names it, has an address of this machine."""
    kind, _, address = unquote(peer).partition(":")
    if kind == "unix":
        return True
    host = address.rpartition(":")[0].strip("[]").partition("%")[0].removeprefix("::ffff:")
    if host in ("127.0.0.1", "::1"):
        return True
    here = {a.address.partition("%")[0] for of in psutil.net_if_addrs().values() for a in of}
    return host in here


def to_message(snapshot: Snapshot, report_type: Any = None) -> Any:
    """Return an OrcaLoadReport; what is unknown is left out."""
    report_type = report_type or _messages()[1]
    message = report_type(
        rps_fractional=snapshot.requests_per_s,
        eps=snapshot.errors_per_s,
        named_metrics=snapshot.named_metrics(),
    )
    if snapshot.application is not None:
        message.application_utilization = snapshot.application
    return message


def _messages() -> tuple[Any, Any]:
    try:
        from xds.data.orca.v3 import orca_load_report_pb2
        from xds.service.orca.v3 import orca_pb2
    except ImportError as error:
        raise MissingExtraError(
            "ORCA needs the package xds-protos: pip install 'meshlb[orca]'"
        ) from error
    return orca_pb2.OrcaLoadReportRequest, orca_load_report_pb2.OrcaLoadReport
