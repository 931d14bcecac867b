"""Who may do what: pure, so that every line of it can be read in a table of tests.

Rules give roles to identities. Without rules the SPIFFE URI of a certificate tells its role:
``spiffe://DOMAIN/meshlb/ROLE`` or ``.../meshlb/ROLE/SERVICE``, as ``meshlb certs`` makes them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from meshlb.security.identity import Identity, Kind, address_matches, matches, same_host


class Role(enum.StrEnum):
    """What an identity may be."""

    NODE = "node"
    """Reports load, of its own address and services."""
    CLIENT = "client"
    """Watches the routes of services, and reports its calls there."""
    OPERATOR = "operator"
    """Scales, drains, and all that a viewer may."""
    VIEWER = "viewer"
    """Reads state, policies and decisions."""


class Action(enum.Enum):
    """What an RPC does, and the roles that may."""

    REPORT = "report load"
    CALL = "watch routes and report calls"
    CHANGE = "change scale, policies and drains"
    READ = "read state"

    @property
    def roles(self) -> tuple[Role, ...]:
        """Who may."""
        return _ROLES[self]


_ROLES = {
    Action.REPORT: (Role.NODE,),
    Action.CALL: (Role.CLIENT,),
    Action.CHANGE: (Role.OPERATOR,),
    Action.READ: (Role.OPERATOR, Role.VIEWER),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One grant."""

    identity: str
    """A SPIFFE URI or DNS name, or one with ``*`` at its end or beginning."""
    roles: tuple[Role, ...]
    services: tuple[str, ...] = ()
    """Empty: all."""
    addresses: tuple[str, ...] = ()
    """HOST or HOST:PORT that a node may report besides its own, with ``*`` as above."""

    def covers(self, service: str) -> bool:
        """Return whether it holds for a service."""
        return not self.services or service in self.services


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not allowed, and what to do."""

    reason: str
    """UNAUTHENTICATED where it is not known who asks, NOT_ALLOWED where that is known."""
    text: str


@dataclass(frozen=True, slots=True)
class Access:
    """All rules of one controller."""

    rules: tuple[Rule, ...] = ()
    open: bool = True
    """Nobody is asked who they are: neither client certificates nor tokens are configured."""

    def rules_of(self, identity: Identity) -> tuple[Rule, ...]:
        """Return what an identity was granted."""
        if not self.rules:
            told = by_spiffe(identity.name) if identity.kind is Kind.CERTIFICATE else None
            return () if told is None else (told,)
        return tuple(
            rule
            for rule in self.rules
            if any(matches(rule.identity, name) for name in identity.names)
        )

    def refusal(
        self,
        identity: Identity,
        action: Action,
        service: str | None,
        granted: tuple[Rule, ...] | None = None,
    ) -> Refusal | None:
        """Return why an identity may not do something; None: it may.

        ``service`` None: for whichever service; "": for all. ``granted`` are a token's rules.
        """
        if self.open:
            return None
        if identity.kind is Kind.NOTHING:
            return Refusal("UNAUTHENTICATED", _who_is_that(identity))
        rules = self.rules_of(identity) if granted is None else granted
        able = [rule for rule in rules if set(rule.roles) & set(action.roles)]
        if not able:
            return Refusal("NOT_ALLOWED", self._no_role(identity, action, rules))
        if service is None or any(rule.covers(service) for rule in able):
            return None
        own = sorted({one for rule in able for one in rule.services})
        asked = f"service {service!r}" if service else "all services at once"
        return Refusal(
            "NOT_ALLOWED",
            f"{identity} may {action.value} of {', '.join(map(repr, own))} only, not of {asked}; "
            + self._how_more(identity, action),
        )

    def address_refusal(
        self,
        identity: Identity,
        service: str,
        address: tuple[str, int],
        granted: tuple[Rule, ...] | None = None,
    ) -> Refusal | None:
        """Return why a node may not report an address (host, port) as its own; None: it may."""
        if self.open:
            return None
        host, port = address
        if any(same_host(host, own) for own in (*identity.hosts, identity.peer_host) if own):
            return None
        rules = self.rules_of(identity) if granted is None else granted
        for rule in rules:
            if (
                Role.NODE in rule.roles
                and rule.covers(service)
                and any(address_matches(pattern, host, port) for pattern in rule.addresses)
            ):
                return None
        own = ", ".join(dict.fromkeys((*identity.hosts, identity.peer_host)))
        return Refusal(
            "NOT_ALLOWED",
            f"{identity} may not report for a node at {host}:{port}: its own hosts are {own}; "
            "report from that host, put its name or address into the certificate, or add it to "
            "`addresses` of its rule under [[access.rule]]",
        )

    def _no_role(self, identity: Identity, action: Action, rules: Iterable[Rule]) -> str:
        roles = sorted({role.value for rule in rules for role in rule.roles})
        wanted = " or ".join(role.value for role in action.roles)
        has = f"has the role {' and '.join(roles)}" if roles else "has no role here"
        return f"{identity} {has}, and only the role {wanted} may {action.value}; " + self._how(
            identity, action
        )

    def _how_more(self, identity: Identity, action: Action) -> str:
        if identity.kind is Kind.TOKEN:
            return "add to `services` of this token in the tokens file"
        if self.rules:
            return "add to `services` of its rule under [[access.rule]]"
        role = action.roles[0].value
        return (
            f"use a certificate of that service (spiffe://DOMAIN/meshlb/{role}/SERVICE, as `meshlb "
            f"certs --role {role} --service SERVICE` makes), or write rules under [[access.rule]]"
        )

    def _how(self, identity: Identity, action: Action) -> str:
        role = action.roles[0].value
        if identity.kind is Kind.TOKEN:
            return f'add "{role}" to the roles of this token in the tokens file'
        if self.rules:
            return (
                "use a certificate that has it, or add to the configuration: [[access.rule]] "
                f'identity = "{identity}", roles = ["{role}"]'
            )
        return (
            f"use a certificate that says so (spiffe://DOMAIN/meshlb/{role}, as `meshlb certs "
            f"--role {role}` makes), or write rules under [[access.rule]]"
        )


_TOLD = re.compile(r"spiffe://[a-z0-9._-]+/meshlb/([a-z]+)(?:/([A-Za-z0-9._-]{1,128}))?")


def by_spiffe(name: str) -> Rule | None:
    """Return what a SPIFFE URI of the form above grants; None for any other name."""
    found = _TOLD.fullmatch(name)
    if found is None or found[1] not in set(Role):
        return None
    return Rule(name, (Role(found[1]),), (found[2],) if found[2] else ())


def _who_is_that(identity: Identity) -> str:
    return (
        f"{identity} has not said who it is; come with a client certificate that has a SPIFFE URI "
        "or DNS name (--cert and --key), or with a token (--token-file)"
    )
