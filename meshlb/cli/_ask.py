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

from meshlb.checks import parse_address
from meshlb.errors import ConflictError, InvalidInputError, UnavailableError
from meshlb.v1 import balance_pb2_grpc, scale_pb2_grpc

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
_REFUSED = (
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --controller and --json."""
    parser.add_argument(
        "--controller", default="127.0.0.1:7700", metavar="HOST:PORT", help="default %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def ask(address: str, call: Callable[[balance_pb2_grpc.BalanceServiceStub], T]) -> T:
    """Return what the call to BalanceService returns; raise as ``failed`` says if it fails."""
    with _link(address) as channel:
        return call(balance_pb2_grpc.BalanceServiceStub(channel))


def ask_scale(address: str, call: Callable[[scale_pb2_grpc.ScaleServiceStub], T]) -> T:
    """Return what the call to ScaleService returns; raise as ``failed`` says if it fails."""
    with _link(address) as channel:
        return call(scale_pb2_grpc.ScaleServiceStub(channel))


@contextmanager
def _link(address: str) -> Iterator[grpc.Channel]:
    parse_address(address)
    with grpc.insecure_channel(address) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            failed(address, error)


def failed(address: str, error: Any) -> NoReturn:
    """Raise the error that a gRPC error means, with the controller's own words.

    InvalidInputError (exit code 2) for what the caller got wrong, ConflictError (3) for what the
    controller refuses as things stand, UnavailableError (1) if it is not there or cannot do it.
    """
    code, told = error.code(), str(error.details())
    match = _REASON.fullmatch(told)
    reason, text = match.groups() if match else (code.name, told)
    if code in _WRONG:
        raise InvalidInputError(_FAULTS.split(text), reason=reason) from error
    if code in _REFUSED:
        raise ConflictError(text, reason=reason) from error
    at = f"controller = {address!r}: "
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise UnavailableError(f"{at}it does not know this call; is it older than this command?")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and not match:
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
