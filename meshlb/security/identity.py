"""Who a peer is, from what its certificate says in its subject alternative names.

A SPIFFE URI goes before DNS names. The common name is never looked at: nothing binds it.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SPIFFE = "spiffe://"
MOST_URI = 2048
"""Characters of a SPIFFE URI, by its standard."""
_ADDRESSES = re.compile(r"[0-9.]+\*")
DNS_NAME = re.compile(r"[A-Za-z0-9._*-]{1,253}")


class Kind(enum.Enum):
    """What proves an identity."""

    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    NOTHING = "nothing"
    """Plain text, or a certificate without a name that counts."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One peer, as far as it has proved who it is."""

    kind: Kind
    name: str
    """For logs and refusals: the SPIFFE URI, else the first DNS name, else the token's name."""
    names: tuple[str, ...] = ()
    """What rules are compared with."""
    hosts: tuple[str, ...] = ()
    """Hosts that it may speak for by itself: DNS names and IP addresses of its certificate."""
    peer_host: str = ""
    """IP address that its connection comes from."""

    def __str__(self) -> str:
        return self.name


def of_peer(auth_context: Mapping[str, Iterable[bytes]], peer: str) -> Identity:
    """Return the identity of a gRPC peer from its auth context and address."""
    uris = _texts(auth_context, "peer_uri")
    # What is no host name could look like a URI in a rule.
    dns = tuple(name for name in _texts(auth_context, "peer_dns") if DNS_NAME.fullmatch(name))
    addresses = _texts(auth_context, "peer_ip")
    host = peer_host(peer)
    spiffe = tuple(uri for uri in uris if uri.startswith(SPIFFE))
    # A certificate has one SPIFFE URI; with several nobody can say whose it is.
    good = len(spiffe) == 1 and spiffe[0].isprintable() and len(spiffe[0]) <= MOST_URI
    names = (spiffe if good else ()) if spiffe else dns
    if not names:
        what = "a certificate without a usable name" if auth_context.get("x509_pem_cert") else peer
        return Identity(Kind.NOTHING, what, peer_host=host)
    hosts = (*(name.lower() for name in dns), *addresses)
    return Identity(Kind.CERTIFICATE, names[0], names, hosts, host)


def peer_host(peer: str) -> str:
    """Return the IP address in what gRPC calls a peer; "" for other kinds of sockets.

    >>> peer_host("ipv4:127.0.0.1:4711"), peer_host("ipv6:%5B::1%5D:4711"), peer_host("unix:")
    ('127.0.0.1', '::1', '')
    """
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    host = rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0].strip("[]")
    return host.partition("%")[0]


def is_loopback(host: str) -> bool:
    """Return whether a host, a name or an address, is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def same_host(one: str, other: str) -> bool:
    """Return whether two hosts are written differently at the most."""
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one.lower().rstrip(".") == other.lower().rstrip(".")


def address_matches(pattern: str, host: str, port: int) -> bool:
    """Return whether a pattern of HOST or HOST:PORT says an address.

    >>> address_matches("10.1.*", "10.1.2.3", 80), address_matches("10.1.*", "10.1.evil.org", 80)
    (True, False)
    """
    if _ADDRESSES.fullmatch(pattern) and not is_address(host):
        return False
    return matches(pattern, host) or matches(pattern, f"{host}:{port}")


def matches(pattern: str, value: str) -> bool:
    """Return whether a value is what a pattern says; ``*`` stands for any text, at one end.

    >>> matches("spiffe://ex.org/prod/*", "spiffe://ex.org/prod/a"), matches("*.ex.org", "ex.org")
    (True, False)
    """
    if value.startswith(SPIFFE) and "/" not in pattern and pattern != "*":
        return False  # of DNS names: a URI may end like one, say in the name of a service account
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return pattern == value


def pattern_fault(pattern: str) -> str | None:
    """Return what is allowed, if a pattern is none."""
    inner = pattern[1:] if pattern.startswith("*") else pattern.removesuffix("*")
    if not pattern or len(pattern) > 2048 or "*" in inner or re.search(r"\s", pattern):
        return "a name, or one with a single * at its end or its beginning"
    return None


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _texts(auth_context: Mapping[str, Iterable[bytes]], key: str) -> tuple[str, ...]:
    return tuple(value.decode(errors="replace") for value in auth_context.get(key, ()))
