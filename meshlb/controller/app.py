"""Builds a controller, starts and stops it: the only wiring."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from meshlb.controller.balance_service import NAME, BalanceService, add_to_server
from meshlb.controller.ticker import Ticker
from meshlb.errors import UnavailableError
from meshlb.policy.fleet import Fleet
from meshlb.settings import Settings
from meshlb.wire import parse_address

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


class Controller:
    """One controller in this event loop."""

    def __init__(self, settings: Settings | None = None, listen: str | None = None) -> None:
        """Take ``listen`` (HOST:PORT, port 0 for a free one) before what the settings say.

        Raises InvalidInputError for an address that is none.
        """
        self.settings = settings or Settings()
        self.listen = listen or self.settings.controller.listen
        if not self.listen.endswith(":0"):
            parse_address(self.listen)
        self.port = 0
        """Port that is served, once started."""
        self.controller_id = uuid.uuid4().hex[:12]
        self._server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve. Raises UnavailableError if the address cannot be had."""
        epoch = time.time_ns() // 1000
        fleet = Fleet(self.settings, self.controller_id, epoch, time.monotonic())
        ticker = Ticker(fleet, self.settings.controller.tick_s)
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # a second controller on the port must fail, not share it
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ]
        )
        add_to_server(BalanceService(fleet, ticker), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        served = (NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*served, reflection.SERVICE_NAME), server)
        try:
            self.port = server.add_insecure_port(self.listen)
        except RuntimeError as error:
            raise UnavailableError(
                f"listen = {self.listen!r}: an address that is free and ours; is another "
                "controller running there?",
                reason="ADDRESS_IN_USE",
            ) from error
        await server.start()
        self._server = server
        for name in ("", *served):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._ticking = asyncio.create_task(ticker.run(), name="ticker")
        host = self.listen.rpartition(":")[0]
        log.info("controller_started", listen=f"{host}:{self.port}", controller=self.controller_id)

    async def stop(self) -> None:
        """Stop in order: no longer healthy, streams ended, port free. Twice does no harm."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._health.enter_graceful_shutdown()
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        # Streams never end by themselves: those who hold them are told at once.
        await server.stop(0)
        log.info("controller_stopped", controller=self.controller_id)
