"""``[controller.tls]`` and ``[access]``: how peers prove who they are, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from meshlb.checks import parse_address
from meshlb.errors import InvalidInputError
from meshlb.security.identity import pattern_fault
from meshlb.security.material import Files
from meshlb.security.roles import Access, Rule
from meshlb.security.rule_text import read_rule

RULE_KEYS = {"identity", "roles", "services", "addresses"}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files of the controller's own TLS; all empty: plain text."""

    cert: str = ""
    """Certificate of the controller, PEM."""
    key: str = ""
    """Its key."""
    client_ca: str = ""
    """Authorities of the certificates that everybody must come with; empty: nobody must."""
    token_listen: str = ""
    """HOST:PORT of one more port, without client certificates, for those that have a token."""

    @property
    def files(self) -> Files:
        """As ``server_tls`` wants them."""
        return Files(self.client_ca, self.cert, self.key)

    @property
    def on(self) -> bool:
        """Whether there is TLS at all."""
        return bool(self.cert)


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may do what."""

    tokens: str = ""
    """File of bearer tokens; empty: none are accepted."""
    rules: tuple[Rule, ...] = ()
    """Grants to identities; empty: SPIFFE URIs tell roles."""


def access(tls: TlsSettings, settings: AccessSettings) -> Access:
    """Return the rules that hold: where nobody is asked who they are, everybody may do all."""
    return Access(settings.rules, open=not (tls.client_ca or settings.tokens))


def read_tls(table: Mapping[str, Any], faults: list[str]) -> TlsSettings:
    """Return ``[controller.tls]``; note its faults."""
    at = "controller.tls"
    good = _texts_of(TlsSettings, table, at, faults)
    tls = TlsSettings(**good)
    if table:
        faults += tls.files.faults(f"{at}.")
    if table and not (tls.cert or tls.key):
        faults.append(f"{at}.cert = '': a file with the controller's certificate")
    if tls.token_listen and not tls.token_listen.endswith(":0"):
        try:
            parse_address(tls.token_listen)
        except InvalidInputError as error:
            allowed = error.faults[0].partition(": ")[2]
            faults.append(f"{at}.token_listen = {tls.token_listen!r}: {allowed}")
    return tls


def read_access(table: Mapping[str, Any], tls: TlsSettings, faults: list[str]) -> AccessSettings:
    """Return ``[access]``; note its faults, and where it and ``[controller.tls]`` do not fit."""
    own = {key: value for key, value in table.items() if key != "rule"}
    tokens = _texts_of(AccessSettings, own, "access", faults, {"tokens"}).get("tokens", "")
    entries = table.get("rule", [])
    rules = []
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
        faults.append("access.rule: tables, each [[access.rule]]")
        entries = []
    for number, entry in enumerate(entries):
        at = f"access.rule[{number}]"
        faults += [
            f"{at}.{key} = {entry[key]!r}: not a key; known: {', '.join(sorted(RULE_KEYS))}"
            for key in entry.keys() - RULE_KEYS
        ]
        identity = entry.get("identity", "")
        wrong = pattern_fault(identity) if isinstance(identity, str) else "a text"
        if wrong:
            faults.append(f"{at}.identity = {identity!r}: {wrong}")
        rule = read_rule(str(identity), entry, at, faults)
        rules += [] if rule is None else [rule]
    if rules and not tls.client_ca:
        faults.append(
            "controller.tls.client_ca = '': a file with the authority of client certificates, "
            "since [[access.rule]] speaks of their names"
        )
    if tls.on and not (tls.client_ca or tokens):
        faults.append(
            "controller.tls.client_ca = '': a file with the authority of client certificates; or "
            "access.tokens; with neither, anybody who comes may do anything"
        )
    if tls.token_listen and not tokens:
        faults.append("access.tokens = '': a file of tokens, since controller.tls.token_listen is")
    return AccessSettings(tokens, tuple(rules))


def tables(tls: TlsSettings, settings: AccessSettings) -> dict[str, list[dict[str, Any]]]:
    """Return what is set, by the header of its table: ``[...]`` or ``[[...]]``."""
    found: dict[str, list[dict[str, Any]]] = {}
    if tls.on:
        own = {f.name: getattr(tls, f.name) for f in fields(tls)}
        found["[controller.tls]"] = [{key: value for key, value in own.items() if value}]
    if settings.tokens:
        found["[access]"] = [{"tokens": settings.tokens}]
    rules = [
        {
            "identity": rule.identity,
            "roles": [role.value for role in rule.roles],
            "services": list(rule.services),
            "addresses": list(rule.addresses),
        }
        for rule in settings.rules
    ]
    if rules:
        found["[[access.rule]]"] = rules
    return found


def _texts_of(
    kind: type, table: Mapping[str, Any], at: str, faults: list[str], known: set[str] | None = None
) -> dict[str, str]:
    names = {f.name for f in fields(kind)} if known is None else known
    good = {}
    for key, value in table.items():
        if key not in names:
            faults.append(f"{at}.{key} = {value!r}: not a key; known: {', '.join(sorted(names))}")
        elif not isinstance(value, str) or not value or not value.isprintable():
            faults.append(f"{at}.{key} = {value!r}: a text that is not empty")
        else:
            good[key] = value
    return good
