"""One stream of reports to one controller, opened again whenever it ends.

Only the newest is ever sent: a controller that was away gets the state as it is now.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio
import structlog

from meshlb import wire
from meshlb.model import LoadReport
from meshlb.v1 import balance_pb2, balance_pb2_grpc

FIRST_DELAY_S, LAST_DELAY_S = 0.2, 5.0
REFUSED_DELAY_S, REFUSED_LAST_S = 5.0, 30.0
REFUSALS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS)
FIRST_INTERVAL_S, LEAST_INTERVAL_S = 0.1, 0.02
log = structlog.get_logger()


class ReportStream:
    """Reports to one controller until it is told to say goodbye."""

    def __init__(
        self, controller: str, report: Callable[[], LoadReport], rng: random.Random
    ) -> None:
        """``report`` returns the node's state now."""
        self.controller = controller
        self.interval_s = FIRST_INTERVAL_S
        """Time between reports, as this controller orders it."""
        self._report = report
        self._rng = rng
        self._goodbye: bool | None = None
        self._leaving = asyncio.Event()

    def say_goodbye(self, drain: bool) -> None:
        """Make the next report the last, withdrawing the node if ``drain``; ``run`` then ends."""
        self._goodbye = drain
        self._leaving.set()

    async def run(self) -> None:
        """Report until goodbye is said."""
        delay_s, told = FIRST_DELAY_S, ""
        async with grpc.aio.insecure_channel(
            self.controller, [("grpc.max_reconnect_backoff_ms", 2000)]
        ) as channel:
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            while True:
                refused = False
                try:
                    async for order in stub.ReportLoad(self._requests()):
                        interval_s = wire.seconds(order.report_interval)
                        self.interval_s = max(LEAST_INTERVAL_S, interval_s)
                        if told != "connected":
                            log.info(
                                "controller_connected",
                                controller=self.controller,
                                interval_s=round(self.interval_s, 3),
                            )
                        delay_s, told = FIRST_DELAY_S, "connected"
                    problem = "the stream ended"
                except grpc.aio.AioRpcError as error:
                    problem = f"{error.code().name}: {error.details()}"
                    refused = error.code() in REFUSALS
                if self._leaving.is_set():
                    return
                if problem != told:
                    told = problem
                    say = log.error if refused else log.warning
                    say("report_refused" if refused else "controller_lost",
                        controller=self.controller, problem=problem)  # fmt: skip
                if refused:
                    delay_s = max(delay_s, REFUSED_DELAY_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._leaving.wait(), delay_s * self._rng.uniform(0.8, 1.2)
                    )
                    return  # goodbye, and nobody there to hear it
                delay_s = min(REFUSED_LAST_S if refused else LAST_DELAY_S, delay_s * 2)

    async def _requests(self) -> AsyncIterator[balance_pb2.ReportLoadRequest]:
        while True:
            report = wire.load_report_to_pb(self._report())
            if self._goodbye is not None:
                goodbye = balance_pb2.Goodbye(drain=self._goodbye)
                yield balance_pb2.ReportLoadRequest(report=report, goodbye=goodbye)
                return
            yield balance_pb2.ReportLoadRequest(report=report)
            # A goodbye must not wait out the interval.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), self.interval_s)
