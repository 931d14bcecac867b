"""How an error of ours becomes a gRPC status, the same in every service."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog

from meshlb.errors import (
    REASON_KEY,
    ConflictError,
    DeniedError,
    InvalidInputError,
    LimitError,
    MeshlbError,
    NotFoundError,
    StateError,
)

log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]
_BY_REASON = {
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "UNKNOWN_SERVICE": grpc.StatusCode.NOT_FOUND,
    "STALE_ETAG": grpc.StatusCode.ABORTED,
    "UNDRAINED": grpc.StatusCode.ABORTED,
    "NO_POLICY": grpc.StatusCode.FAILED_PRECONDITION,
    "WITHDRAWN_BY_SIDECAR": grpc.StatusCode.FAILED_PRECONDITION,
    "STATE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_BY_CLASS = {
    DeniedError: grpc.StatusCode.PERMISSION_DENIED,
    LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    StateError: grpc.StatusCode.UNAVAILABLE,
}


async def refuse(context: Context, error: MeshlbError, call: str, who: str) -> NoReturn:
    """End a call with the status of an error, its reason first; ``who`` asked is for the log."""
    code = _BY_REASON.get(error.reason) or _BY_CLASS.get(
        type(error), grpc.StatusCode.FAILED_PRECONDITION
    )
    log.warning(
        "refused", call=call, who=who, peer=context.peer(), reason=error.reason, problem=str(error)
    )
    await abort(context, code, error.reason, str(error))


async def abort(context: Context, code: grpc.StatusCode, reason: str, text: str) -> NoReturn:
    """End a call with a status whose message starts with the reason."""
    await context.abort(code, f"{reason}: {text}"[:2000], ((REASON_KEY, reason),))
    raise AssertionError("abort raises")
