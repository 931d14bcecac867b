"""BalanceService over gRPC: streams become observations, mailboxes become streams.

Refusals end one stream with a canonical status whose message starts with the reason; nothing that
one peer sends reaches another unless it passed ``Gate``, ``wire`` and ``Fleet``.
Long because each RPC of the service is here.
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
from meshlb.controller.gate import Caller, Gate
from meshlb.controller.refusals import Context
from meshlb.controller.ticker import Ticker, Watcher
from meshlb.errors import InvalidInputError, MeshlbError, UnknownServiceError
from meshlb.model import NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.security.pace import Pace
from meshlb.security.roles import Action
from meshlb.v1 import balance_pb2, balance_pb2_grpc
from meshlb.wire_time import duration

log = structlog.get_logger()
MOST_PROBLEM = 1000
"""Characters of a client's words in the log."""
NAME = balance_pb2.DESCRIPTOR.services_by_name["BalanceService"].full_name


class BalanceService(balance_pb2_grpc.BalanceServiceServicer):
    """The shell around one fleet."""

    def __init__(self, fleet: Fleet, ticker: Ticker, draining: Draining, gate: Gate) -> None:
        self._fleet = fleet
        self._gate = gate
        self._draining = draining
        self._ticker = ticker

    async def ReportLoad(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.ReportLoadRequest], context: Context
    ) -> None:
        """Take one node's reports in; order a new interval whenever it changed."""
        fleet, gate = self._fleet, self._gate
        stream = object()
        known: tuple[str, str] | None = None
        checked: NodeInfo | None = None
        ordered: tuple[float, bool, int | None] | None = None
        last = wire.Last()
        pace = gate.pace()
        try:
            caller = gate.admit(context, Action.REPORT, None)
            with gate.stream(caller):
                async for request in requests:
                    began_s = time.thread_time()
                    report = wire.load_report_from_pb(request.report, last)
                    key = (report.node.service, report.node.node_id)
                    if known is not None and key != known:
                        raise InvalidInputError(
                            f"report.node = {key!r}: the stream's first node, {known!r}",
                            reason="NODE_CHANGED",
                        )
                    if report.node is not checked:  # one object as long as it says the same
                        gate.check_node(caller, report.node, fleet)
                        checked = report.node
                    now = time.monotonic()
                    warning = fleet.observe_report(report, stream, now, time.time())
                    spent_s = time.thread_time() - began_s
                    if known is None:
                        known = key
                        log.info(
                            "sidecar_connected",
                            service=key[0],
                            node=key[1],
                            address=report.node.address,
                            who=str(caller),
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
                    wait_s = pace.wait_s(fleet.report_interval_s, now, spent_s)
                    if wait_s > 0.0:
                        await self._slow_down(caller, "ReportLoad", pace, wait_s)
        except MeshlbError as error:
            await gate.refuse(context, error, "ReportLoad")
        finally:
            if known is not None:
                fleet.stream_lost(*known, stream)

    async def _slow_down(self, caller: Caller, call: str, pace: Pace, wait_s: float) -> None:
        """Read nothing for a while: what the peer sends meanwhile waits on its own side."""
        self._gate.note_slowed(caller, call, pace)
        await asyncio.sleep(wait_s)

    async def WatchRoutes(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.WatchRoutesRequest], context: Context
    ) -> None:
        """Send one client its tables and shares; read what it made of them."""
        try:
            caller = self._gate.admit(context, Action.CALL, None)
            with self._gate.stream(caller):
                await self._watch(requests, context, caller)
        except MeshlbError as error:
            await self._gate.refuse(context, error, "WatchRoutes")

    async def _watch(
        self,
        requests: AsyncIterator[balance_pb2.WatchRoutesRequest],
        context: Context,
        caller: Caller,
    ) -> None:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "subscribe":
            raise InvalidInputError(
                "message: subscribe, as the first of the stream", reason="NOT_SUBSCRIBED"
            )
        table_wire.check_subscribe(first.subscribe)
        service, client_id = first.subscribe.service, first.subscribe.client_id
        self._gate.check_client(caller, service, client_id, self._fleet)
        watcher = Watcher(service, client_id)
        self._fleet.subscribe(service, client_id, time.monotonic())
        self._ticker.watchers.add(watcher)
        self._ticker.give_table(watcher)
        log.info("client_subscribed", service=service, client=client_id, who=str(caller))
        answers = asyncio.create_task(self._read_answers(requests, service, client_id, caller))
        sender = asyncio.create_task(_send(watcher, context))
        try:
            await asyncio.wait((answers, sender), return_when=asyncio.FIRST_COMPLETED)
            watcher.mailbox.close()
            await asyncio.wait((sender,))  # gRPC gives no status to a call that is being written to
            if answers.done() and answers.exception() is not None:
                raise answers.exception()  # type: ignore[misc]
        finally:
            self._ticker.watchers.discard(watcher)
            self._fleet.unsubscribe(service, client_id)
            for task in (answers, sender):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _read_answers(
        self,
        requests: AsyncIterator[balance_pb2.WatchRoutesRequest],
        service: str,
        client_id: str,
        caller: Caller,
    ) -> None:
        pace = self._gate.pace()
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
                    problem=ack.error[:MOST_PROBLEM],
                )
            else:
                self._fleet.acknowledge(service, client_id, ack.epoch, ack.version)
            # One answer a table; a table comes once a tick at the most.
            wait_s = pace.wait_s(self._fleet.settings.controller.tick_s, time.monotonic())
            if wait_s > 0.0:
                await self._slow_down(caller, "WatchRoutes", pace, wait_s)

    async def ReportCalls(  # noqa: N802
        self, requests: AsyncIterator[balance_pb2.ReportCallsRequest], context: Context
    ) -> None:
        """Take one client's counts in; order a new interval whenever it changed."""
        ordered = 0.0
        known: tuple[str, str] | None = None
        last = wire.Last()
        gate = self._gate
        pace = gate.pace()
        try:
            caller = gate.admit(context, Action.CALL, None)
            with gate.stream(caller):
                async for request in requests:
                    began_s = time.thread_time()
                    report = wire.call_report_from_pb(request.report, last)
                    key = report.service, report.client_id
                    if key != known:
                        if known is not None:
                            raise InvalidInputError(
                                f"report = {key!r}: the stream's first client, {known!r}",
                                reason="CLIENT_CHANGED",
                            )
                        gate.check_client(caller, *key, self._fleet)
                        known = key
                    now = time.monotonic()
                    self._fleet.observe_calls(report, now)
                    spent_s = time.thread_time() - began_s
                    interval_s = self._fleet.share_interval_s
                    if interval_s != ordered:
                        ordered = interval_s
                        await context.write(
                            balance_pb2.ReportCallsResponse(report_interval=duration(interval_s))
                        )
                    wait_s = pace.wait_s(interval_s, now, spent_s)
                    if wait_s > 0.0:
                        await self._slow_down(caller, "ReportCalls", pace, wait_s)
        except MeshlbError as error:
            await gate.refuse(context, error, "ReportCalls")

    async def ListServices(  # noqa: N802
        self, request: balance_pb2.ListServicesRequest, context: Context
    ) -> balance_pb2.ListServicesResponse:
        """List what there is, of what the caller may see."""
        del request
        services = self._fleet.services
        try:
            caller = self._gate.admit(context, Action.READ, None)
        except MeshlbError as error:
            await self._gate.refuse(context, error, "ListServices")
        answer = balance_pb2.ListServicesResponse(
            services=[
                status.service_status(services[name])
                for name in sorted(services)
                if self._gate.sees(caller, name)
            ]
        )
        if self._gate.sees(caller, ""):
            answer.refusals.extend(status.refusals(self._gate.refused))
            answer.slowed_count = self._gate.slowed
        return answer

    async def ListNodes(  # noqa: N802
        self, request: balance_pb2.ListNodesRequest, context: Context
    ) -> balance_pb2.ListNodesResponse:
        """List the nodes of one service, or of all that the caller may see."""
        services = self._fleet.services
        try:
            caller = self._gate.admit(context, Action.READ, request.service or None)
            seen = [name for name in sorted(services) if self._gate.sees(caller, name)]
            if request.service and request.service not in services:
                raise UnknownServiceError(request.service, seen)
        except MeshlbError as error:
            await self._gate.refuse(context, error, "ListNodes")
        names = [request.service] if request.service else seen
        now = time.monotonic()
        return balance_pb2.ListNodesResponse(
            nodes=[one for name in names for one in status.node_statuses(services[name], now)]
        )

    async def DrainNode(  # noqa: N802
        self, request: balance_pb2.DrainNodeRequest, context: Context
    ) -> AsyncIterator[balance_pb2.DrainNodeResponse]:
        """Withdraw a node; stream how far it has come."""
        try:
            caller = self._gate.admit(context, Action.CHANGE, request.service)
            with self._gate.stream(caller):
                async for progress in self._draining.drain(request, str(caller)):
                    yield progress
        except MeshlbError as error:
            await self._gate.refuse(context, error, "DrainNode")

    async def UndrainNode(  # noqa: N802
        self, request: balance_pb2.UndrainNodeRequest, context: Context
    ) -> balance_pb2.UndrainNodeResponse:
        """Give a withdrawn node new calls again."""
        try:
            caller = self._gate.admit(context, Action.CHANGE, request.service)
            return await self._draining.undrain(request, str(caller))
        except MeshlbError as error:
            await self._gate.refuse(context, error, "UndrainNode")


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
    while (taken := await watcher.mailbox.take()) is not None:
        table, share = taken
        if table is not None:
            await context.write(table)
        if share is not None:
            await context.write(share)
