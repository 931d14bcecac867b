"""Certificates and keys in files: read, and parsed before use."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshlb.errors import InvalidInputError

MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files; empty: none."""

    ca: str = ""
    """Certificates of the authorities that peers are checked against."""
    cert: str = ""
    """Own certificate, and those between it and its authority."""
    key: str = ""
    """Its private key, not encrypted."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(path for path in (self.ca, self.cert, self.key) if path)

    def faults(self, at: str = "") -> list[str]:
        """Return what is wrong with the names, without reading any file."""
        if bool(self.cert) != bool(self.key):
            missing, there = ("key", "cert") if self.cert else ("cert", "key")
            return [f"{at}{missing} = '': a file, since {at}{there} is given"]
        return []


@dataclass(frozen=True, slots=True)
class Material:
    """What is in them; None where there is no file."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        return "Material(...)"  # the key is nobody's business


def read(files: Files) -> Material:
    """Read and check all files. Raises InvalidInputError naming the file and what it should be."""
    # Read again after the check, which reads the paths by itself: what was checked is what is used.
    for _ in range(3):
        found = _read(files)
        _check(files, found)
        if _read(files) == found:
            return found
    raise InvalidInputError(f"cert = {files.cert!r}: a file that is not being written just now")


def signature(paths: Sequence[str]) -> tuple[object, ...]:
    """Return what differs once a file was replaced or written to; cheap."""
    found: list[object] = []
    for path in paths:
        try:
            stat = Path(path).stat()
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError as error:
            found.append(error.errno)
    return tuple(found)


def _read(files: Files) -> Material:
    return Material(
        _content("ca", files.ca), _content("cert", files.cert), _content("key", files.key)
    )


def _content(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise _unusable(name, path, f"a readable file ({why})") from error
    if len(content) > MOST_BYTES:
        raise _unusable(name, path, f"a PEM file of {MOST_BYTES} bytes at the most")
    return content


def _check(files: Files, found: Material) -> None:
    if found.ca is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
                cadata=found.ca.decode("ascii")
            )
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
            raise _unusable("ca", files.ca, "certificates in PEM") from error
    if found.cert is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.cert, files.key, password="")  # else OpenSSL asks the user
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _unusable("key", files.key, f"the key of the certificate {files.cert}") from error
        raise _unusable(
            "cert", files.cert, f"a certificate in PEM, and its key in {files.key}, not encrypted"
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable("cert", files.cert, f"a certificate in PEM ({error})") from error


def _unusable(name: str, path: str, allowed: str) -> InvalidInputError:
    return InvalidInputError(f"{name} = {path!r}: {allowed}", reason="INVALID_CERTIFICATE")
