"""One stream of reports to one controller, opened again whenever it ends.

Only the newest is ever sent: a controller that was away gets the state as it is now. What a
controller does, or that it is not there, never ends the sidecar.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from meshlb.security import diagnose
from meshlb.security.client_tls import Tls, bearer
from meshlb.v1 import balance_pb2, balance_pb2_grpc, load_pb2
from meshlb.wire_time import seconds
from sidecar import dial

FIRST_DELAY_S, LAST_DELAY_S = 0.2, 5.0
REFUSED_DELAY_S, REFUSED_LAST_S = 5.0, 30.0
REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
FIRST_INTERVAL_S, LEAST_INTERVAL_S, MOST_INTERVAL_S = 1.0, 0.02, 60.0
"""Kept until an order comes, and the bounds within which orders are followed."""
OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # With a keepalive set gRPC drops a connection whose data nobody acknowledges for this long:
    # that finds a host that lost its power. The pings themselves stay below what servers forbid.
    ("grpc.keepalive_time_ms", 360_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
log = structlog.get_logger()


class ReportStream:
    """Reports to one controller until it is told to say goodbye."""

    def __init__(
        self,
        controller: str,
        report: Callable[[], load_pb2.LoadReport],
        ordered: Callable[[], object],
        rng: random.Random,
        tls: Tls | None = None,
        token_file: str = "",
    ) -> None:
        """``report`` returns the node's state now; ``ordered`` is called after each order."""
        self.controller = controller
        self.interval_s: float | None = None
        """Time between reports, as this controller orders it; None: it is away, or silent yet."""
        self._report = report
        self._ordered = ordered
        self._rng = rng
        self._tls = tls
        self._token_file = token_file
        self._generation = 0
        """Of the certificates that the channel was opened with."""
        self._goodbye: balance_pb2.Goodbye | None = None
        self._wake = asyncio.Event()
        self._told = ""
        """Kind of the last change that was logged."""
        self.draining = False
        """Whether this controller has withdrawn the node, as it said last."""
        self.slots: int | None = None
        """Slots that it orders; None: as the server was started."""
        self._delay_s = FIRST_DELAY_S

    def say_goodbye(self, drain: bool) -> None:
        """Make the next report the last, withdrawing the node if ``drain``; ``run`` then ends."""
        self._goodbye = balance_pb2.Goodbye(drain=drain)
        self._wake.set()

    async def run(self) -> None:
        """Report until goodbye is said."""
        goes_on = True
        while goes_on:
            self._generation = self._current()
            async with dial.controller(self.controller, self._tls, OPTIONS) as channel:
                goes_on = await self._on_channel(balance_pb2_grpc.BalanceServiceStub(channel))

    async def _on_channel(self, stub: Any) -> bool:
        """Report until goodbye is said (False), or the certificates have changed (True)."""
        while True:
            refused = False
            try:
                await self._one_stream(stub)
                if self._current() != self._generation and self._goodbye is None:
                    return True
                self._tell("controller_lost", "the stream ended", "ended")
            except grpc.aio.AioRpcError as error:
                refused = error.code() in REFUSALS
                await self._tell_end(error, refused)
            except Exception as error:
                self._tell("controller_lost", repr(error), type(error).__name__)
            self.interval_s = None
            if self._goodbye is not None:
                return False
            await self._back_off(refused)
            if self._goodbye is not None:
                return False  # nobody there to hear it
            if self._current() != self._generation:
                return True

    def _current(self) -> int:
        return 0 if self._tls is None else self._tls.current()[0]

    async def _one_stream(self, stub: Any) -> None:
        """Report over one stream until it ends; raises AioRpcError if it ends badly."""
        call = stub.ReportLoad(metadata=bearer(self._token_file) or None)
        orders = asyncio.create_task(self._take_orders(call))
        orders.add_done_callback(lambda _: self._wake.set())
        loop = asyncio.get_running_loop()
        try:
            while not orders.done():
                self._wake.clear()
                request = balance_pb2.ReportLoadRequest(report=self._report())
                if self._goodbye is not None:
                    request.goodbye.CopyFrom(self._goodbye)
                sent_at = loop.time()
                try:
                    await call.write(request)
                    if request.HasField("goodbye"):
                        await call.done_writing()
                        break
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    break  # the call is over, and its end is told by the orders
                await self._until_due(sent_at, orders)
                if self._goodbye is None and self._current() != self._generation:
                    return  # the next stream begins at once, with the new ones
            await orders
        finally:
            call.cancel()
            orders.cancel()
            await asyncio.gather(orders, return_exceptions=True)

    async def _until_due(self, sent_at: float, orders: asyncio.Task[None]) -> None:
        """Wait out the interval as it is ordered now; goodbye and the stream's end cut it short."""
        loop = asyncio.get_running_loop()
        while self._goodbye is None and not orders.done():
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(sent_at + (self.interval_s or FIRST_INTERVAL_S)):
                    await self._wake.wait()
            if loop.time() >= sent_at + (self.interval_s or FIRST_INTERVAL_S):
                return

    async def _take_orders(self, call: Any) -> None:
        async for order in call:
            interval_s = seconds(order.report_interval)
            self.interval_s = min(MOST_INTERVAL_S, max(LEAST_INTERVAL_S, interval_s))
            self._delay_s = FIRST_DELAY_S
            self._wake.set()
            if self._told != "connected":
                self._told = "connected"
                log.info("controller_connected", controller=self.controller,
                         interval_s=round(self.interval_s, 3))  # fmt: skip
            self.slots = order.slot_count if order.HasField("slot_count") else None
            if order.draining != self.draining:
                self.draining = order.draining
                log.info("drain_ordered" if order.draining else "drain_ended",
                         controller=self.controller)  # fmt: skip
            self._ordered()

    async def _tell_end(self, error: grpc.aio.AioRpcError, refused: bool) -> None:
        code, details = error.code().name, error.details() or ""
        if error.code() is grpc.StatusCode.UNAVAILABLE and f"{code} " != self._told:
            files = None if self._tls is None else self._tls.files
            why = await asyncio.to_thread(diagnose.why, self.controller, files)
            details = why or details
        # Of a refusal the reason is the news; of a loss the code alone, since its texts vary.
        reason = details.partition(":")[0] if refused else ""
        event = "report_refused" if refused else "controller_lost"
        self._tell(event, f"{code}: {details}", f"{code} {reason}")

    def _tell(self, event: str, problem: str, kind: str) -> None:
        if kind != self._told and self._goodbye is None:
            self._told = kind
            say = log.error if event == "report_refused" else log.warning
            say(event, controller=self.controller, problem=problem)

    async def _back_off(self, refused: bool) -> None:
        """Wait with jitter, longer each time; goodbye cuts it short."""
        if refused:
            self._delay_s = max(self._delay_s, REFUSED_DELAY_S)
        most_s = REFUSED_LAST_S if refused else LAST_DELAY_S
        delay_s = min(self._delay_s, most_s)
        self._delay_s = min(most_s, delay_s * 2)
        self._wake.clear()
        if self._goodbye is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s * self._rng.uniform(0.8, 1.2)):
                    await self._wake.wait()
