"""What to do about a failed handshake, by gRPC's own words of it: pure, for where nobody can ask.

``diagnose`` knows more, but it blocks.
"""

from __future__ import annotations

_HINTS = (
    (("certificate has expired",), "the server's certificate has expired: give it a new one"),
    (
        ("unable to get local issuer", "self signed", "self-signed", "unable to get issuer"),
        "the server's certificate is signed by an authority that is not in `ca`",
    ),
    (
        ("is not in peer certificate", "hostname verification"),
        "the server's certificate is not for this name; its sidecar's --authority tells another",
    ),
    (
        ("wrong_version_number", "wrong version number"),
        "the server there speaks plain text, and we speak TLS",
    ),
    (
        ("handshake failed", "tsi_protocol_failure"),
        "TLS fails: check certificates and authorities of both sides",
    ),
)


def hint(details: str | None) -> str:
    """Return what a failed connection's text means, in parentheses; "" if it is not of TLS."""
    told = (details or "").lower()
    for words, meaning in _HINTS:
        if any(word in told for word in words):
            return f" ({meaning})"
    if "failed to connect" in told and "socket closed" in told:
        # A server that refuses a handshake says no more than this.
        return (
            " (it takes the connection and hangs up: does it speak TLS and we plain text, or does "
            "it refuse our certificate?)"
        )
    return ""
