"""Why a TLS connection to a peer fails, in words, and what to do: gRPC says little of it.

One handshake with the standard library's ``ssl``, after gRPC has failed. It blocks, for a few
seconds at the most, so asyncio runs it in a thread.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from meshlb.checks import parse_address
from meshlb.errors import InvalidInputError
from meshlb.security import own
from meshlb.security.material import Files
from meshlb.security.own import EXPIRED, NO_CHECK_TIME

LIMIT_S = 3.0
_NOT_YET, _WRONG_HOST, _WRONG_ADDRESS = 9, 62, 64
_SSL_TEXT = ("wrong version number", "record layer failure", "http request", "packet length")


def why(address: str, files: Files | None, name: str = "", limit_s: float = LIMIT_S) -> str | None:
    """Return why TLS to HOST:PORT fails and what to do; None: nothing was found.

    ``files`` None: we speak plain text there. ``name`` is what the server's certificate is to be
    for; empty: the host.
    """
    try:
        host, port = parse_address(address)
    except InvalidInputError:
        return None
    try:
        with socket.create_connection((host, port), limit_s):
            pass
    except OSError:
        return None  # gRPC's own words say so
    if files is None:
        return _plain_text(host, port, limit_s)
    try:
        context = _context(files)
    except (ssl.SSLError, OSError, ValueError) as error:
        return f"our own files cannot be used: {error}"
    try:
        with _connected(host, port, context, name or host, limit_s) as there:
            return _refused_us(there, files)
    except ssl.SSLCertVerificationError as error:
        return _certificate(error, host, port, files, name or host, limit_s)
    except ssl.SSLError as error:
        return _handshake(error, files)
    except OSError:
        return _handshake(None, files) if _speaks_tls(host, port, limit_s) else _NO_TLS


_NO_TLS = (
    "the server there speaks plain text, and we speak TLS: leave --ca, --cert and --key out (in a "
    "client: insecure_channel), or give that server certificates"
)


def _plain_text(host: str, port: int, limit_s: float) -> str | None:
    if not _speaks_tls(host, port, limit_s):
        return None
    return (
        "the server there speaks TLS, and we speak plain text: use --ca FILE, and --cert and --key "
        "where it asks for a certificate (in a client: meshlb.secure_channel with meshlb.tls)"
    )


def _speaks_tls(host: str, port: int, limit_s: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connected(host, port, context, host, limit_s):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # an alert is TLS too
    except OSError:
        return False


def _certificate(
    error: ssl.SSLCertVerificationError,
    host: str,
    port: int,
    files: Files,
    name: str,
    limit_s: float,
) -> str:
    code = error.verify_code
    seen = _seen(host, port, files, limit_s)
    if code in (_WRONG_HOST, _WRONG_ADDRESS):
        names = ", ".join(value for _, value in seen.get("subjectAltName", ())) or "none"
        return (
            f"the server's certificate is not for {name!r}: its names are {names}. Reach it by one "
            "of these, or have a certificate made with this name (`meshlb certs --host`)"
        )
    if code in (EXPIRED, _NOT_YET):
        if code == _NOT_YET:
            state, when = "is not valid yet", seen.get("notBefore")
        else:
            state, when = "has expired", seen.get("notAfter")
        at = f" ({when})" if when else ""
        return (
            f"the server's certificate {state}{at}: give the server a new one, and check the "
            "clocks; a meshlb controller takes new files without a restart"
        )
    return (
        f"the server's certificate is not signed by an authority in {files.ca or 'our own list'} "
        f"({error.verify_message}): use the --ca that signed it"
    )


def _seen(host: str, port: int, files: Files, limit_s: float) -> dict[str, Any]:
    """Return the server's certificate as far as its authority is ours, whatever its dates."""
    with contextlib.suppress(OSError, ValueError):
        context = _context(files)
        context.check_hostname = False
        context.verify_flags |= NO_CHECK_TIME
        with _connected(host, port, context, host, limit_s) as there:
            return dict(there.getpeercert() or {})
    return {}


def _refused_us(there: ssl.SSLSocket, files: Files) -> str | None:
    """Return why a server ends a handshake that is done for us: in TLS 1.3 it looks at us last."""
    try:
        if there.recv(1):
            return None  # HTTP/2 begins: TLS is in order
    except ssl.SSLError as error:
        return _handshake(error, files)
    except TimeoutError:
        return None
    except OSError:
        pass
    return _handshake(None, files)


def _handshake(error: ssl.SSLError | None, files: Files) -> str:
    reason = (error.reason or "") if error is not None else ""
    if any(word in str(error).lower() for word in _SSL_TEXT):
        return _NO_TLS
    if not files.cert:
        return (
            "the server asks for a client certificate, and we show none: use --cert and --key (in "
            "a client: meshlb.tls(cert=..., key=...)); for a token, its port without certificates"
        )
    ours, code, when = f"the server refuses our certificate {files.cert}", *own.fault(files)
    if "EXPIRED" in reason or code == EXPIRED:
        return (
            f"{ours}, which has expired{f' ({when})' if when else ''}: have a new one made "
            "(`meshlb certs --force`); whoever follows the files takes it without a restart"
        )
    if "UNKNOWN_CA" in reason or code is not None:
        return (
            f"{ours}: it is signed by an authority that the server does not know"
            f"{_named(own.issuer(files))}; use one by the authority in the server's client_ca, or "
            "have ours added there"
        )
    told = reason.replace("_", " ").lower() if reason else "it does not say why"
    return (
        f"{ours} ({told}): check that the authority that signed it is in the server's client_ca, "
        "and the server's log"
    )


def _named(issuer: str) -> str:
    return f" ({issuer})" if issuer else ""


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if files.ca:
        context.load_verify_locations(files.ca)
    else:
        context.load_default_certs()
    if files.cert:
        context.load_cert_chain(files.cert, files.key, password="")
    return context


@contextlib.contextmanager
def _connected(
    host: str, port: int, context: ssl.SSLContext, name: str, limit_s: float
) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((host, port), limit_s) as raw,
        context.wrap_socket(raw, server_hostname=name) as there,
    ):
        yield there
