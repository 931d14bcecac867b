"""Why a client has no table: what each controller said, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from meshlb.client.target import Target
from meshlb.security import diagnose
from meshlb.security.client_tls import Credentials, Tls


def failure(error: Any, controller: str, credentials: Credentials | None, *, ask: bool) -> str:
    """Return why a stream to a controller ended; ``ask``: look into it, which blocks for a while.

    Of failed handshakes gRPC says too little.
    """
    why = None
    ours = credentials is None or isinstance(credentials, Tls)
    if ask and ours and error.code() is grpc.StatusCode.UNAVAILABLE:
        files = credentials.files if isinstance(credentials, Tls) else None
        why = diagnose.why(controller, files)
    return f"{error.code().name}: {why or error.details()}"


def text(target: Target, errors: Mapping[str, str]) -> str:
    """Return the error of a client that no controller has given a table."""
    tried = "; ".join(f"{c}: {errors.get(c, 'no answer')}" for c in target.controllers)
    return (
        f"no routing table for service {target.service!r}: no controller answers "
        f"({tried}). Check that `meshlb controller` runs there, and that the address in the "
        f"target {str(target)!r} is right."
    )
