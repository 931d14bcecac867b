"""Who a peer is: SPIFFE first, then DNS, never the common name."""

import pytest

from meshlb.security import identity
from meshlb.security.identity import Kind

CERT = {"x509_pem_cert": [b"..."], "x509_common_name": [b"operator"]}
PEER = "ipv4:10.0.0.7:4711"


@pytest.mark.parametrize(
    ("auth", "kind", "names"),
    [
        ({}, Kind.NOTHING, ()),
        (CERT, Kind.NOTHING, ()),
        ({**CERT, "peer_dns": [b"a.ex", b"b.ex"]}, Kind.CERTIFICATE, ("a.ex", "b.ex")),
        (
            {**CERT, "peer_dns": [b"a.ex"], "peer_uri": [b"spiffe://ex/a"]},
            Kind.CERTIFICATE,
            ("spiffe://ex/a",),
        ),
        (
            {**CERT, "peer_uri": [b"https://ex/a"], "peer_dns": [b"a.ex"]},
            Kind.CERTIFICATE,
            ("a.ex",),
        ),
        ({**CERT, "peer_uri": [b"spiffe://ex/a", b"spiffe://ex/b"]}, Kind.NOTHING, ()),
        ({**CERT, "peer_uri": [b"spiffe://ex/a\nb"], "peer_dns": [b"a.ex"]}, Kind.NOTHING, ()),
        ({**CERT, "peer_uri": [b"spiffe://ex/" + b"a" * 2048]}, Kind.NOTHING, ()),
        ({**CERT, "peer_ip": [b"10.0.0.7"]}, Kind.NOTHING, ()),
        ({**CERT, "peer_dns": [b"spiffe://ex/meshlb/operator"]}, Kind.NOTHING, ()),
    ],
)
def test_what_names_a_peer(auth, kind, names):
    found = identity.of_peer(auth, PEER)
    assert (found.kind, found.names) == (kind, names)
    assert found.peer_host == "10.0.0.7"
    assert "operator" not in found.name


def test_hosts_are_dns_names_and_addresses_of_the_certificate():
    auth = {"peer_dns": [b"Node-1.EX"], "peer_ip": [b"10.0.0.8"], "peer_uri": [b"spiffe://ex/a"]}
    assert identity.of_peer(auth, PEER).hosts == ("node-1.ex", "10.0.0.8")


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:1", "127.0.0.1"),
        ("ipv6:[::1]:1", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1"),
        ("unix:/tmp/x", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_peer(peer, host):
    assert identity.peer_host(peer) == host


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback(host, is_it):
    assert identity.is_loopback(host) is is_it


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("a.ex", "a.ex", True),
        ("a.ex", "b.a.ex", False),
        ("*.ex", "a.ex", True),
        ("*.ex", "a.ex.evil", False),
        ("spiffe://ex/prod/*", "spiffe://ex/prod/x/y", True),
        ("spiffe://ex/prod/*", "spiffe://ex/prod", False),
        ("*", "anything", True),
        ("*", "spiffe://ex/a", True),
        ("*.ops.ex", "spiffe://ex/ns/a/sa/b.ops.ex", False),
        ("*/operator", "spiffe://ex/operator", True),
    ],
)
def test_patterns(pattern, value, fits):
    assert identity.matches(pattern, value) is fits
    assert identity.pattern_fault(pattern) is None


@pytest.mark.parametrize("pattern", ["", "a*b", "*a*", "**", "a b"])
def test_what_is_no_pattern(pattern):
    assert identity.pattern_fault(pattern)
