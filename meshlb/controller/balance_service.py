"""BalanceService over gRPC: streams become observations, mailboxes become streams.

Refusals end one stream with a canonical status whose message starts with the reason; nothing that
one peer sends reaches another unless it passed ``wire`` and ``Fleet``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from meshlb import table_wire, wire
from meshlb.controller import status
from meshlb.controller.draining import Draining
from meshlb.controller.refusals import Context, abort, refuse
from meshlb.controller.ticker import Ticker, Watcher
from meshlb.errors import ConflictError, InvalidInputError, MeshlbError
from meshlb.policy.fleet import Fleet
from meshlb.v1 import balance_pb2, balance_pb2_grpc
from meshlb.wire_time import duration

log = structlog.get_logger()
NAME = balance_pb2.DESCRIPTOR.services_by_name["BalanceService"].full_name


class BalanceService(balance_pb2_grpc.BalanceServiceServicer):
    """The shell around one fleet."""

    def __init__(self, fleet: Fleet, ticker: Ticker, draining: Draining) -> None:
        self._fleet = fleet
        self._draining = draining
        self._ticker = ticker

    async def ReportLoad(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.ReportLoadRequest], context: Context
    ) -> None:
        """Take one node's reports in; order a new interval whenever it changed."""
        fleet = self._fleet
        stream = object()
        known: tuple[str, str] | None = None
        ordered: tuple[float, bool, int | None] | None = None
        last = wire.Last()
        try:
            async for request in requests:
                report = wire.load_report_from_pb(request.report, last)
                key = (report.node.service, report.node.node_id)
                if known is not None and key != known:
                    raise InvalidInputError(
                        f"report.node = {key!r}: the stream's first node, {known!r}",
                        reason="NODE_CHANGED",
                    )
                warning = fleet.observe_report(report, stream, time.monotonic(), time.time())
                if known is None:
                    known = key
                    log.info(
                        "sidecar_connected",
                        service=key[0],
                        node=key[1],
                        address=report.node.address,
                    )
                if warning:
                    log.warning("clock_skew", service=key[0], node=key[1], problem=warning)
                if request.HasField("goodbye"):
                    fleet.goodbye(*key, stream, request.goodbye.drain)
                    return
                node = fleet.services[key[0]].nodes[key[1]]
                order = fleet.report_interval_s, node.withdrawn, node.slots_order
                if order != ordered:
                    ordered = order
                    await context.write(
                        balance_pb2.ReportLoadResponse(
                            report_interval=duration(order[0]),
                            draining=order[1],
                            slot_count=order[2],
                        )
                    )
        except (InvalidInputError, ConflictError) as error:
            await refuse(context, error, "ReportLoad")
        finally:
            if known is not None:
                fleet.stream_lost(*known, stream)

    async def WatchRoutes(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.WatchRoutesRequest], context: Context
    ) -> None:
        """Send one client its tables and shares; read what it made of them."""
        first = await anext(requests, None)
        try:
            if first is None or first.WhichOneof("message") != "subscribe":
                raise InvalidInputError(
                    "message: subscribe, as the first of the stream", reason="NOT_SUBSCRIBED"
                )
            table_wire.check_subscribe(first.subscribe)
        except InvalidInputError as error:
            await refuse(context, error, "WatchRoutes")
        service, client_id = first.subscribe.service, first.subscribe.client_id
        watcher = Watcher(service, client_id)
        self._fleet.subscribe(service, client_id, time.monotonic())
        self._ticker.watchers.add(watcher)
        self._ticker.give_table(watcher)
        log.info("client_subscribed", service=service, client=client_id)
        answers = asyncio.create_task(self._read_answers(requests, service, client_id))
        sender = asyncio.create_task(_send(watcher, context))
        try:
            await asyncio.wait((answers, sender), return_when=asyncio.FIRST_COMPLETED)
            if answers.done() and answers.exception() is not None:
                raise answers.exception()  # type: ignore[misc]
        except InvalidInputError as error:
            await refuse(context, error, "WatchRoutes")
        finally:
            self._ticker.watchers.discard(watcher)
            self._fleet.unsubscribe(service, client_id)
            for task in (answers, sender):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _read_answers(
        self, requests: AsyncIterator[balance_pb2.WatchRoutesRequest], service: str, client_id: str
    ) -> None:
        async for request in requests:
            if request.WhichOneof("message") != "ack":
                raise InvalidInputError("message: ack, after the first", reason="NOT_AN_ACK")
            ack = request.ack
            if ack.error:
                kept = ack.error.startswith(table_wire.NOT_COMPLETE)
                (log.info if kept else log.warning)(
                    "table_not_taken_yet" if kept else "table_refused",
                    service=service,
                    client=client_id,
                    version=ack.version,
                    problem=ack.error,
                )
            else:
                self._fleet.acknowledge(service, client_id, ack.epoch, ack.version)

    async def ReportCalls(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.ReportCallsRequest], context: Context
    ) -> None:
        """Take one client's counts in; order a new interval whenever it changed."""
        ordered = 0.0
        last = wire.Last()
        try:
            async for request in requests:
                report = wire.call_report_from_pb(request.report, last)
                self._fleet.observe_calls(report, time.monotonic())
                interval_s = self._fleet.share_interval_s
                if interval_s != ordered:
                    ordered = interval_s
                    await context.write(
                        balance_pb2.ReportCallsResponse(report_interval=duration(interval_s))
                    )
        except InvalidInputError as error:
            await refuse(context, error, "ReportCalls")

    async def ListServices(  # noqa: N802
        self, request: balance_pb2.ListServicesRequest, context: Context
    ) -> balance_pb2.ListServicesResponse:
        """List what there is."""
        del request, context
        services = self._fleet.services
        return balance_pb2.ListServicesResponse(
            services=[status.service_status(services[name]) for name in sorted(services)]
        )

    async def ListNodes(  # noqa: N802
        self, request: balance_pb2.ListNodesRequest, context: Context
    ) -> balance_pb2.ListNodesResponse:
        """List the nodes of one service, or of all."""
        services = self._fleet.services
        if request.service and request.service not in services:
            await abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                "UNKNOWN_SERVICE",
                f"service = {request.service[:140]!r}: one of {sorted(services)[:20]}",
            )
        names = [request.service] if request.service else sorted(services)
        now = time.monotonic()
        return balance_pb2.ListNodesResponse(
            nodes=[one for name in names for one in status.node_statuses(services[name], now)]
        )

    async def DrainNode(  # noqa: N802
        self, request: balance_pb2.DrainNodeRequest, context: Context
    ) -> AsyncIterator[balance_pb2.DrainNodeResponse]:
        """Withdraw a node; stream how far it has come."""
        try:
            async for progress in self._draining.drain(request):
                yield progress
        except MeshlbError as error:
            await refuse(context, error, "DrainNode")

    async def UndrainNode(  # noqa: N802
        self, request: balance_pb2.UndrainNodeRequest, context: Context
    ) -> balance_pb2.UndrainNodeResponse:
        """Give a withdrawn node new calls again."""
        try:
            return await self._draining.undrain(request)
        except MeshlbError as error:
            await refuse(context, error, "UndrainNode")


def add_to_server(service: BalanceService, server: grpc.aio.Server) -> None:
    """Serve BalanceService; as generated, but that WatchRoutes writes bytes made by ``frames``."""
    watch: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        service.WatchRoutes, balance_pb2.WatchRoutesRequest.FromString, response_serializer=None
    )
    handlers = {"WatchRoutes": watch}
    # Of generic handlers the first that knows a method is taken, of registered ones the last.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    balance_pb2_grpc.add_BalanceServiceServicer_to_server(service, server)
    server.add_registered_method_handlers(NAME, handlers)


async def _send(watcher: Watcher, context: Context) -> None:
    while True:
        table, share = await watcher.mailbox.take()
        if table is not None:
            await context.write(table)
        if share is not None:
            await context.write(share)
