"""Who asks, whether they may, and how much: every RPC of the controller comes through here."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from meshlb.checks import parse_address
from meshlb.controller import refusals
from meshlb.controller.refusals import Context
from meshlb.errors import DeniedError, LimitError, MeshlbError, UnknownServiceError
from meshlb.model import NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.security import identity as identities
from meshlb.security import tokens as bearers
from meshlb.security.identity import Identity
from meshlb.security.pace import Pace
from meshlb.security.roles import Access, Action, Refusal, Rule
from meshlb.security.tokens import Tokens
from meshlb.settings import ControllerSettings

log = structlog.get_logger()
MOST_REASONS = 1000
"""Kinds of refusals that are counted apart."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what a token grants; a certificate's rules are looked up."""

    identity: Identity
    granted: tuple[Rule, ...] | None = None

    def __str__(self) -> str:
        return self.identity.name


@dataclass(slots=True)
class Refused:
    """One kind of refusal: how often, and the last."""

    count: int = 0
    last_at: float = 0.0
    """Unix seconds."""
    last_who: str = ""
    last_peer: str = ""


@dataclass(slots=True)
class Gate:
    """What one controller lets in."""

    access: Access = field(default_factory=Access)
    tokens: Tokens | None = None
    limits: ControllerSettings = field(default_factory=ControllerSettings)
    refused: dict[tuple[str, str], Refused] = field(default_factory=dict)
    """By call and reason."""
    slowed: int = 0
    """Messages after which a stream was not read for a while."""
    _streams: Counter[str] = field(default_factory=Counter)

    # --- who and whether -------------------------------------------------------------------

    def caller(self, context: Context) -> Caller:
        """Return who asks. Raises DeniedError for a token that is not known or may be read."""
        peer = context.peer()
        auth = context.auth_context()
        token = None
        if self.tokens is not None:
            token = bearers.in_metadata(context.invocation_metadata())
        if token is None or self.tokens is None:
            return Caller(identities.of_peer(auth, peer))
        host = identities.peer_host(peer)
        secure = b"ssl" in auth.get("transport_security_type", ())
        if not (secure or identities.is_loopback(host) or peer.startswith("unix")):
            raise DeniedError(
                "a token is accepted over TLS or loopback only: this one came in plain text, so "
                "others may have read it; make a new one, and use --ca",
                reason="UNAUTHENTICATED",
            )
        found = self.tokens.of(token)
        if found is None:
            raise DeniedError(
                "the token is none of this controller's; it may have been replaced: ask for a new "
                "one, or add its SHA-256 to the tokens file",
                reason="UNAUTHENTICATED",
            )
        return Caller(bearers.identity_of(found, host), (found.rule,))

    def admit(self, context: Context, action: Action, service: str | None) -> Caller:
        """Return who asks, who may; raise DeniedError otherwise.

        ``service`` None: for whichever service, to be looked at later; "": for all.
        """
        caller = self.caller(context)
        self.check(caller, action, service)
        return caller

    def check(self, caller: Caller, action: Action, service: str | None) -> None:
        """Raise DeniedError if a caller may not do something."""
        _raise(self.access.refusal(caller.identity, action, service, caller.granted))

    def sees(self, caller: Caller, service: str) -> bool:
        """Return whether a caller may read one service."""
        return self.access.refusal(caller.identity, Action.READ, service, caller.granted) is None

    def check_node(self, caller: Caller, node: NodeInfo, fleet: Fleet) -> None:
        """Raise DeniedError unless a node is the caller's own, LimitError if it is one too many."""
        self.check(caller, Action.REPORT, node.service)
        self._own(caller, node.service, node.address)
        self.check_service(node.service, fleet)
        record = fleet.services.get(node.service)
        other = None if record is None else record.nodes.get(node.node_id)
        if (
            record is not None
            and other is not None
            and other.info.address != node.address
            and other.stream is not None
            and other.heard(time.monotonic(), record.settings.fresh_s)
        ):
            # Else the id of a node that lives could be taken over from elsewhere. One that is not
            # heard may have moved: a host that lost its power ends no stream.
            self._own(caller, node.service, other.info.address)
        if record is not None and other is None and len(record.nodes) >= self.limits.max_nodes:
            raise LimitError(
                f"node_id = {node.node_id!r}: service {node.service!r} has {len(record.nodes)} "
                "nodes, as many as controller.max_nodes allows"
            )

    def check_service(self, service: str, fleet: Fleet) -> None:
        """Raise LimitError for a service that is one too many."""
        most = self.limits.max_services
        if service not in fleet.services and len(fleet.services) >= most:
            raise LimitError(
                f"service = {service!r}: a service that is there; {len(fleet.services)} are, and "
                f"controller.max_services = {most} allows no more"
            )

    def check_client(self, caller: Caller, service: str, client_id: str, fleet: Fleet) -> None:
        """Raise DeniedError unless a caller may call a service, LimitError for one too many."""
        self.check(caller, Action.CALL, service)
        self._check_wanted(service, fleet)
        record = fleet.services.get(service)
        if record is None or client_id in record.clients:
            return
        if len(record.clients) >= self.limits.max_clients:
            raise LimitError(
                f"client_id = {client_id!r}: service {service!r} has {len(record.clients)} "
                "clients, as many as controller.max_clients allows"
            )

    def _check_wanted(self, service: str, fleet: Fleet) -> None:
        self.check_service(service, fleet)
        most = max(1, self.limits.max_services // 2)
        if service in fleet.services:
            return
        # Else clients alone could use up all names, and no new node would be let in.
        empty = sum(1 for record in fleet.services.values() if not record.nodes)
        if empty >= most:
            raise LimitError(
                f"service = {service!r}: a service that has nodes; {empty} have none, and half of "
                f"controller.max_services = {self.limits.max_services} allows no more"
            )

    def _own(self, caller: Caller, service: str, address: str) -> None:
        at = parse_address(address)
        _raise(self.access.address_refusal(caller.identity, service, at, caller.granted))

    # --- how much --------------------------------------------------------------------------

    @contextlib.contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """Count one stream in and out; raise LimitError if its peer has too many."""
        identity = caller.identity
        unnamed = identity.kind is identities.Kind.NOTHING
        key = identity.peer_host if unnamed else identity.name
        if self._streams[key] >= self.limits.max_streams_per_peer:
            raise LimitError(
                f"streams of {key or 'this peer'}: {self._streams[key]} are open, as many as "
                "controller.max_streams_per_peer allows"
            )
        self._streams[key] += 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def pace(self) -> Pace:
        """Return the bucket of a new stream."""
        return Pace(self.limits.report_burst, time.monotonic())

    def note_slowed(self, caller: Caller, call: str, pace: Pace) -> None:
        """Count a message of a stream that is too fast; log the first of each stream."""
        self.slowed += 1
        if pace.slowed == 1:
            log.warning(
                "stream_slowed",
                call=call,
                who=str(caller),
                problem="it sends faster than ordered, or what costs too much time, so it is read "
                "more slowly; controller.report_burst says how far ahead it may be",
            )

    # --- what is refused -------------------------------------------------------------------

    async def refuse(self, context: Context, error: MeshlbError, call: str) -> NoReturn:
        """End a call with the status of an error; logged and counted."""
        try:
            caller = self.caller(context)
            who = str(caller)
        except DeniedError:
            who = "a token that is not accepted"
        else:
            if isinstance(error, UnknownServiceError):  # of others' services nobody is told
                seen = [name for name in error.known if self.sees(caller, name)]
                error = UnknownServiceError(error.name, seen)
        key = call, error.reason
        if key in self.refused or len(self.refused) < MOST_REASONS:
            one = self.refused.setdefault(key, Refused())
            one.count += 1
            one.last_at, one.last_who, one.last_peer = time.time(), who, context.peer()
        await refusals.refuse(context, error, call, who)


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise DeniedError(refusal.text, reason=refusal.reason)
