"""What our own certificate says, and what is wrong with it: by a handshake with ourselves.

The standard library shows a certificate only to who has checked it, so a client of our own does.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

from meshlb.security.material import Files

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which ``ssl`` has no name for."""
EXPIRED = 10


def fault(files: Files) -> tuple[int | None, str | None]:
    """Return what is wrong with our certificate as our own authorities see it, and its end.

    A server drops who comes with a wrong certificate without a word, but it looks as we can look:
    OpenSSL's code for expired or signed by a stranger; None: nothing is wrong.
    """
    try:
        _seen(files, files.ca, 0)
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, _about(files).get("notAfter")
    except (ssl.SSLError, OSError, ValueError):
        return None, None
    return None, None


def marks(files: Files, last_part: float) -> list[tuple[float, str]]:
    """Return what is to be said of our certificate's end, and from when on in Unix seconds."""
    told = _about(files) if files.cert else {}
    if not told:
        return []
    begins, ends = (float(ssl.cert_time_to_seconds(told[key])) for key in ("notBefore", "notAfter"))
    soon = ends - last_part * (ends - begins)
    return [
        (soon, f"a newer one, since it ends at {told['notAfter']}"),
        (ends, f"a newer one, since it has ended at {told['notAfter']}; nobody takes it any more"),
    ]


def issuer(files: Files) -> str:
    """Return the name of the authority that signed our certificate; "" if it has none."""
    parts = [pair for name in _about(files).get("issuer", ()) for pair in name]
    return ", ".join(value for key, value in parts if key in ("organizationName", "commonName"))


def _about(files: Files) -> dict[str, Any]:
    """Return our certificate as ``ssl`` tells one, whoever signed it and whenever it ends."""
    flags = NO_CHECK_TIME | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    with contextlib.suppress(ssl.SSLError, OSError, ValueError):
        return _seen(files, files.cert, flags)
    return {}


def _seen(files: Files, authorities: str, flags: int) -> dict[str, Any]:
    """Let a client that trusts these authorities look at our certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    if authorities:
        client.load_verify_locations(authorities)
    else:
        client.load_default_certs()
    client.verify_flags |= flags
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up)
    there = server.wrap_bio(up, down, server_side=True)
    for _ in range(10):
        for side in (here, there):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        if here.version() is not None and here.getpeercert():
            return dict(here.getpeercert() or {})
    return {}
