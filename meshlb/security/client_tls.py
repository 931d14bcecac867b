"""What a client proves itself with, and checks servers against: files, followed as they change."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from meshlb.checks import parse_address
from meshlb.errors import InvalidInputError
from meshlb.security.following import Following, Note
from meshlb.security.identity import is_loopback
from meshlb.security.material import Files

log = logging.getLogger(__name__)  # a library's: silent unless the caller's program says otherwise
MOST_TOKEN = 4096


class Tls:
    """Certificates, key and token in files, for ``meshlb.secure_channel`` and its asyncio twin."""

    def __init__(
        self,
        *,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        token_file: str | os.PathLike[str] | None = None,
        note: Note | None = None,
    ) -> None:
        """As ``tls`` below; ``note`` is told of changes in the place of the library's log."""
        files = Files(*("" if path is None else os.fspath(path) for path in (ca, cert, key)))
        faults = files.faults()
        if faults:
            raise InvalidInputError(faults, reason="INVALID_OPTION")
        self.files = files
        self.token_file = "" if token_file is None else os.fspath(token_file)
        self._following = Following(files, note or _note)
        self._lock = threading.Lock()
        self._made: tuple[int, grpc.ChannelCredentials] | None = None
        self.bearer()  # a token that cannot be read is the caller's error, now

    def current(self) -> tuple[int, grpc.ChannelCredentials]:
        """Return credentials of the files as they are now, and a number that grows with them."""
        with self._lock:
            generation, material = self._following.newest()
            if self._made is None or self._made[0] != generation:
                self._made = (
                    generation,
                    grpc.ssl_channel_credentials(material.ca, material.key, material.cert),
                )
            return self._made

    def bearer(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that carry the token as it is now; () without one."""
        return bearer(self.token_file)

    def forked(self) -> None:
        """Begin anew in a child process: a thread left behind may hold a lock for ever."""
        self._lock = threading.Lock()
        self._following.forked()

    def __repr__(self) -> str:
        return f"meshlb.tls(ca={self.files.ca!r}, cert={self.files.cert!r})"


Credentials: TypeAlias = grpc.ChannelCredentials | Tls


def tls(
    *,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
) -> Tls:
    """Return credentials of PEM files; channels follow the files when they change.

    ``ca`` are the authorities that servers are checked against (None: those that gRPC brings),
    ``cert`` and ``key`` are shown to servers that ask. ``token_file`` holds a bearer token, which
    goes to controllers only, never to nodes. Raises InvalidInputError for files that cannot be
    used.
    """
    return Tls(ca=ca, cert=cert, key=key, token_file=token_file)


def channel_credentials(given: Any) -> grpc.ChannelCredentials:
    """Return gRPC's credentials of either kind: ours as they are now, or gRPC's own."""
    if isinstance(given, Tls):
        return given.current()[1]
    made: grpc.ChannelCredentials = given
    return made


def bearer_of(given: Any) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a controller's calls."""
    return given.bearer() if isinstance(given, Tls) else ()


def bearer(path: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carry a file's token. Raises InvalidInputError."""
    if not path:
        return ()
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"token_file = {path!r}: a readable file with one token", reason="INVALID_TOKEN"
        ) from error
    if not 16 <= len(token) <= MOST_TOKEN or any(not "!" <= c <= "~" for c in token):
        raise InvalidInputError(  # the token itself is never told
            f"token_file = {path!r}: one token of 16 to {MOST_TOKEN} characters, no spaces",
            reason="INVALID_TOKEN",
        )
    return (("authorization", f"Bearer {token}"),)


def check_bearer_way(address: str, token_file: str) -> None:
    """Raise InvalidInputError if a token would go over the network in plain text."""
    if token_file and not is_loopback(parse_address(address)[0]):
        raise InvalidInputError(
            f"token_file = {token_file!r}: only together with --ca for {address!r}, since without "
            "TLS everybody on the way could read it",
            reason="PLAIN_TEXT",
        )


def _note(event: str, text: str) -> None:
    level = logging.INFO if event == "certificates_changed" else logging.WARNING
    log.log(level, "%s: %s", event.replace("_", " "), text)
