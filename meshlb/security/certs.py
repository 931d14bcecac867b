"""A certificate authority for development, and certificates by it (extra ``meshlb[certs]``)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlb.errors import InvalidInputError, MissingExtraError
from meshlb.security.identity import DNS_NAME, is_address

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

CLOCK_SLACK = dt.timedelta(minutes=5)
"""Certificates hold from a little before now, for machines whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(...)"  # the key is nobody's business


def new_authority(name: str, days: float) -> Pair:
    """Return a new authority that can sign certificates, but no further authorities."""
    x509 = _x509()
    key = _new_key()
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    builder = (
        _dated(days)
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


def new_certificate(
    authority: Pair, hosts: Sequence[str], uri: str | None, days: float, common_name: str = ""
) -> Pair:
    """Return a certificate for hosts (DNS names and IP addresses) and a SPIFFE URI.

    ``days`` below 0 make one that has expired. Raises InvalidInputError for an authority that
    cannot sign.
    """
    x509 = _x509()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        issuer = x509.load_pem_x509_certificate(authority.cert)
        issuer_key: Any = load_pem_private_key(authority.key, None)
        fits = issuer.public_key() == issuer_key.public_key()
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"authority: a certificate and its key in PEM ({error})") from error
    if not fits:
        raise InvalidInputError("authority: a certificate and its own key")
    names: list[GeneralName] = [] if uri is None else [x509.UniformResourceIdentifier(uri)]
    names += [_host(host) for host in hosts]
    key = _new_key()
    subject = [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)] if common_name else []
    both = (x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH)
    builder = (
        _dated(days)
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    return _signed(builder, key, issuer_key)


def write(path: Path, content: bytes, *, secret: bool) -> None:
    """Put a whole file in place at once; a secret one can be read by its owner only.

    Raises InvalidInputError if that cannot be.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            if not secret:
                Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidInputError(
            f"DIR = {str(path.parent)!r}: a folder that can be written ({error.strerror})"
        ) from error


def _x509() -> Any:
    try:
        from cryptography import x509
    except ImportError as error:
        raise MissingExtraError(
            "making certificates needs the package cryptography: pip install 'meshlb[certs]'"
        ) from error
    return x509


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _dated(days: float) -> Any:
    now = dt.datetime.now(dt.UTC)
    ends = now + dt.timedelta(days=days)
    return (
        _x509()
        .CertificateBuilder()
        .serial_number(_x509().random_serial_number())
        .not_valid_before(min(now, ends) - CLOCK_SLACK)
        .not_valid_after(ends)
    )


def _usage(*, signs_certificates: bool) -> Any:
    return _x509().KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def host_fault(host: str) -> str | None:
    """Return what is allowed, if a host is none that a certificate can be for."""
    if is_address(host.strip("[]")) or DNS_NAME.fullmatch(host):
        return None
    return "a DNS name (A-Z a-z 0-9 . _ -, a * in front) or an IP address, without a port"


def _host(host: str) -> Any:
    wrong = host_fault(host)
    if wrong:
        raise InvalidInputError(f"--host = {host!r}: {wrong}")
    x509, bare = _x509(), host.strip("[]")
    if is_address(bare):
        return x509.IPAddress(ipaddress.ip_address(bare))
    return x509.DNSName(host)


def _signed(builder: Any, key: Any, by: Any) -> Pair:
    from cryptography.hazmat.primitives import hashes, serialization

    made = builder.sign(by, hashes.SHA256())
    return Pair(
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
