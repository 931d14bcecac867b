"""Builds a controller, starts and stops it: the only wiring."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from pathlib import Path

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from meshlb import access_settings
from meshlb.checks import parse_address
from meshlb.controller.balance_service import BalanceService, add_to_server
from meshlb.controller.changes import Changes
from meshlb.controller.draining import Draining
from meshlb.controller.gate import Gate
from meshlb.controller.scale_service import ScaleService
from meshlb.controller.scaling import Scaling
from meshlb.controller.store import Store
from meshlb.controller.ticker import Ticker
from meshlb.errors import InvalidInputError, UnavailableError
from meshlb.policy.fleet import Fleet
from meshlb.security.identity import is_loopback
from meshlb.security.server_tls import ServerTls
from meshlb.security.tokens import Tokens
from meshlb.settings import Settings
from meshlb.v1 import balance_pb2, scale_pb2, scale_pb2_grpc

log = structlog.get_logger()

NAMES = (
    balance_pb2.DESCRIPTOR.services_by_name["BalanceService"].full_name,
    scale_pb2.DESCRIPTOR.services_by_name["ScaleService"].full_name,
)
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared with, not bound
"""Addresses to listen on, and where one's own sidecars reach them."""


class Controller:
    """One controller in this event loop."""

    def __init__(
        self,
        settings: Settings | None = None,
        listen: str | None = None,
        state: Path | None = None,
    ) -> None:
        """Take ``listen`` (HOST:PORT, port 0 for a free one) before what the settings say.

        ``state`` is the file of what is to outlive this controller; None: nothing is. Raises
        InvalidInputError for an address that is none.
        """
        self.settings = settings or Settings()
        self.listen = listen or self.settings.controller.listen
        if not self.listen.endswith(":0"):
            parse_address(self.listen)
        self._check_plain_text()
        self.port = 0
        """Port that is served, once started."""
        self.token_port = 0
        """Port for those with tokens and without certificates; 0: none."""
        self.controller_id = uuid.uuid4().hex[:12]
        self._server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self._ticking: asyncio.Task[None] | None = None
        self._state = state
        self._store: Store | None = None
        self._scaling: Scaling | None = None

    async def start(self) -> None:
        """Serve.

        Raises UnavailableError if the address cannot be had, InvalidInputError for a state file
        that cannot be used, ConflictError for one that another controller uses.
        """
        epoch = time.time_ns() // 1000
        fleet = Fleet(self.settings, self.controller_id, epoch, time.monotonic())
        self._store = store = Store(self._state, self.settings.controller.keep_decisions_s)
        self._scaling = scaling = Scaling(fleet, self.settings, store)
        try:
            await scaling.load()
            await self._serve(fleet, scaling, store)
        except BaseException:
            await store.close()
            raise
        if self._state is None and (self.settings.policies or self.settings.actuators):
            log.warning(
                "nothing_is_kept",
                problem="without --state FILE, policies, manual targets, pauses and decisions end "
                "with this controller, and replicas that it started are not found again",
            )

    async def _serve(self, fleet: Fleet, scaling: Scaling, store: Store) -> None:
        ticker = Ticker(fleet, self.settings.controller.tick_s, scaling.tick)
        changes = Changes(store, scaling)
        draining = Draining(fleet, scaling, changes)
        gate = self._gate()
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # a second controller on the port must fail, not share it
                ("grpc.max_receive_message_length", self.settings.controller.max_message_bytes),
            ]
        )
        add_to_server(BalanceService(fleet, ticker, draining, gate), server)
        scale_pb2_grpc.add_ScaleServiceServicer_to_server(
            ScaleService(scaling, changes, store, gate), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        served = (*NAMES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*served, reflection.SERVICE_NAME), server)
        self._open_ports(server)
        await server.start()
        self._server = server
        for name in ("", *served):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._ticking = asyncio.create_task(ticker.run(), name="ticker")
        host = self.listen.rpartition(":")[0]
        scaling.start(f"{ANYWHERE.get(host, host)}:{self.port}")
        log.info(
            "controller_started",
            listen=f"{host}:{self.port}",
            controller=self.controller_id,
            access=self._access_in_words(),
        )

    def _gate(self) -> Gate:
        access = self.settings.access
        tokens = Tokens(access.tokens, _note) if access.tokens else None
        return Gate(
            access_settings.access(self.settings.tls, access), tokens, self.settings.controller
        )

    def _open_ports(self, server: grpc.aio.Server) -> None:
        tls = self.settings.tls
        made = ServerTls(tls.files, _note) if tls.on else None
        self.port = _open(server, self.listen, None if made is None else made.credentials())
        if made is not None and tls.token_listen:
            credentials = made.credentials(ask_clients=False)
            self.token_port = _open(server, tls.token_listen, credentials)

    def _check_plain_text(self) -> None:
        """Raise InvalidInputError if plain text would be served where others can reach it."""
        host = self.listen.rpartition(":")[0]
        if self.settings.tls.on or is_loopback(host):
            return
        if not self.settings.controller.allow_plain_text:
            raise InvalidInputError(
                f"listen = {self.listen!r}: an address of loopback such as 127.0.0.1:7700, since "
                "without [controller.tls] anybody who reaches this port could scale, drain and "
                "take over services. Give the controller certificates (`meshlb certs` makes some), "
                "or, in a network where everybody is trusted, say allow_plain_text = true under "
                "[controller]",
                reason="PLAIN_TEXT",
            )
        log.warning(
            "plain_text_allowed",
            listen=self.listen,
            problem="allow_plain_text = true: whoever reaches this port may do anything",
        )

    def _access_in_words(self) -> str:
        settings = self.settings
        if settings.access.rules:
            return f"mTLS, {len(settings.access.rules)} rules"
        if settings.tls.client_ca:
            return "mTLS, roles by SPIFFE URI (spiffe://DOMAIN/meshlb/ROLE/SERVICE)"
        return "tokens only" if settings.access.tokens else "anybody who reaches it"

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
        if self._scaling is not None and self._store is not None:
            await self._scaling.close()
            await self._store.close()
        log.info("controller_stopped", controller=self.controller_id)


def _open(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None) -> int:
    """Open one port. Raises UnavailableError if the address cannot be had."""
    try:
        if credentials is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise UnavailableError(
            f"listen = {listen!r}: an address that is free and ours; is another "
            "controller running there?",
            reason="ADDRESS_IN_USE",
        ) from error


def _note(event: str, text: str) -> None:
    if event.endswith("_changed"):
        log.info(event, files=text)
    else:
        log.error(event, problem=text)
