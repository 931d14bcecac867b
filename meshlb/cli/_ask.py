"""What commands that ask a controller share: the arguments, the call, the table of text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from meshlb.cli import _place
from meshlb.cli._place import Place, place
from meshlb.errors import ConflictError, DeniedError, InvalidInputError, UnavailableError
from meshlb.v1 import balance_pb2_grpc, scale_pb2_grpc

__all__ = [
    "LIMIT_S", "Place", "arguments", "as_json", "ask", "ask_scale", "failed", "place", "table",
]  # fmt: skip
T = TypeVar("T")
LIMIT_S = 10.0
_REASON = re.compile(r"([A-Z][A-Z0-9_]*): (.*)", re.DOTALL)
_FAULTS = re.compile(r"; (?=[A-Za-z_][\w.\[\]]*(?: = |: ))")
"""Where one fault ends and the next begins, which names its field."""
_WRONG = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
)
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_REFUSED = (
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --json, where the controller is, and what to prove oneself with."""
    _place.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def ask(place: Place, call: Callable[[balance_pb2_grpc.BalanceServiceStub], T]) -> T:
    """Return what the call to BalanceService returns; raise as ``failed`` says if it fails."""
    with _link(place) as channel:
        return call(balance_pb2_grpc.BalanceServiceStub(channel))


def ask_scale(place: Place, call: Callable[[scale_pb2_grpc.ScaleServiceStub], T]) -> T:
    """Return what the call to ScaleService returns; raise as ``failed`` says if it fails."""
    with _link(place) as channel:
        return call(scale_pb2_grpc.ScaleServiceStub(channel))


@contextmanager
def _link(place: Place) -> Iterator[grpc.Channel]:
    with place.channel() as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            failed(place, error)


def failed(place: Place, error: Any) -> NoReturn:
    """Raise the error that a gRPC error means, with the controller's own words.

    InvalidInputError (exit code 2) for what the caller got wrong, ConflictError (3) for what the
    controller refuses as things stand and DeniedError (3) for what the caller may not do,
    UnavailableError (1) if it is not there or cannot do it.
    """
    code, told = error.code(), str(error.details())
    match = _REASON.fullmatch(told)
    reason, text = match.groups() if match else (code.name, told)
    if code in _WRONG:
        raise InvalidInputError(_FAULTS.split(text), reason=reason) from error
    if code in _REFUSED:
        raise ConflictError(text, reason=reason) from error
    at = f"controller = {place!r}: "
    if code in _DENIED:
        raise DeniedError(f"{at}{text}", reason=reason) from error
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise UnavailableError(f"{at}it does not know this call; is it older than this command?")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and not match:
        why = place.why_not()
        if why is not None:
            raise UnavailableError(f"{at}{why}") from error
        raise UnavailableError(
            f"{at}{code.name}, {told}; is it running there? (meshlb controller)"
        ) from error
    raise UnavailableError(f"{at}{code.name}, {text}", reason=reason) from error


def as_json(message: Message, *, one_line: bool = False) -> str:
    """Return a message as JSON, figures of zero included; what is not known is left out."""
    return json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        indent=None if one_line else 2,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows as aligned text; columns whose every cell is a number stand right, WHY never.

    Lines longer than ``width`` are cut there.
    """
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [c[0] != "WHY" and all(_numeric(cell) for cell in c[1:]) for c in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]
    if width is not None:
        lines = [line if len(line) <= width else line[: width - 3] + "..." for line in lines]
    return "\n".join(lines)


def _numeric(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("+-")[:1].isdigit()
