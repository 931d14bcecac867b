"""Where a command's controller is, and what the command proves itself with there."""

from __future__ import annotations

import argparse
import collections
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from meshlb.checks import parse_address
from meshlb.security import client_tls, diagnose
from meshlb.security.client_tls import Tls


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --controller, --ca, --cert, --key and --token-file."""
    parser.add_argument(
        "--controller", default="127.0.0.1:7700", metavar="HOST:PORT", help="default %(default)s"
    )
    secure = parser.add_argument_group("TLS", "each has its variable: MESHLB_CA, MESHLB_CERT, ...")
    for name, about in (
        ("ca", "authority that signed the controller's certificate"),
        ("cert", "our own certificate"),
        ("key", "its private key"),
        ("token-file", "file with a bearer token"),
    ):
        secure.add_argument(
            f"--{name}", metavar="FILE", default=os.environ.get(_variable(name), ""), help=about
        )


def _variable(name: str) -> str:
    return f"MESHLB_{name.upper().replace('-', '_')}"


@dataclass(frozen=True, slots=True)
class Place:
    """One controller."""

    address: str
    tls: Tls | None
    """None: plain text."""
    token_file: str

    def __repr__(self) -> str:
        return repr(self.address)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """Open a channel; its calls carry the token. Raises InvalidInputError."""
        opened = (
            grpc.insecure_channel(self.address)
            if self.tls is None
            else grpc.secure_channel(self.address, self.tls.current()[1])
        )
        with opened:
            bearer = client_tls.bearer(self.token_file)
            yield grpc.intercept_channel(opened, _Bearing(bearer)) if bearer else opened

    def why_not(self) -> str | None:
        """Return why no TLS connection comes about, and what to do; None: nothing was found."""
        return diagnose.why(self.address, None if self.tls is None else self.tls.files)


def place(args: argparse.Namespace) -> Place:
    """Return what the arguments say. Raises InvalidInputError."""
    parse_address(args.controller)
    if args.ca or args.cert or args.key:
        tls = Tls(ca=args.ca or None, cert=args.cert or None, key=args.key or None)
        return Place(args.controller, tls, args.token_file)
    client_tls.check_bearer_way(args.controller, args.token_file)
    return Place(args.controller, None, args.token_file)


class _Details(
    collections.namedtuple(  # noqa: PYI024 - as gRPC wants it
        "_Details",
        ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"),
    ),
    grpc.ClientCallDetails,
):
    """Details of a call, with one thing changed."""


class _Bearing(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the token to each call."""

    def __init__(self, bearer: tuple[tuple[str, str], ...]) -> None:
        self._bearer = bearer

    def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Go on with the token."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Go on with the token."""
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, details: Any) -> Any:
        metadata = (*(details.metadata or ()), *self._bearer)
        return _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
