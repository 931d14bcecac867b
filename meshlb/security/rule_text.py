"""Grants as files write them: roles, services and addresses of a token or an identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlb.checks import NAME
from meshlb.security.identity import pattern_fault
from meshlb.security.roles import Role, Rule


def read_rule(identity: str, entry: Mapping[str, Any], at: str, faults: list[str]) -> Rule | None:
    """Return the grant in a table: ``roles``, ``services``, ``addresses``; note its faults."""
    roles, services = entry.get("roles", []), entry.get("services", [])
    addresses = entry.get("addresses", [])
    before = len(faults)
    known = [role.value for role in Role]
    if not _texts(roles) or not roles or set(roles) - set(known):
        faults.append(f"{at}.roles = {roles!r}: a list of one or more of {', '.join(known)}")
    if not _texts(services) or not all(NAME.match(one) for one in services):
        faults.append(f"{at}.services = {services!r}: a list of names of services; absent: all")
    if not _texts(addresses) or any(map(pattern_fault, addresses)):
        faults.append(
            f"{at}.addresses = {addresses!r}: a list of HOST or HOST:PORT, each with a single * at "
            "its end or its beginning at the most"
        )
    if len(faults) > before:
        return None
    return Rule(identity, tuple(Role(one) for one in roles), tuple(services), tuple(addresses))


def _texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
