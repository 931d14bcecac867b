"""What commands that ask a controller share: the arguments, the call, the table of text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc

from meshlb.errors import InvalidInputError, UnavailableError
from meshlb.v1 import balance_pb2_grpc
from meshlb.wire import parse_address

T = TypeVar("T")
LIMIT_S = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --controller and --json."""
    parser.add_argument(
        "--controller", default="127.0.0.1:7700", metavar="HOST:PORT", help="default %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def ask(address: str, call: Callable[[balance_pb2_grpc.BalanceServiceStub], T]) -> T:
    """Return what the call returns; UnavailableError or InvalidInputError if it fails."""
    parse_address(address)
    with grpc.insecure_channel(address) as channel:
        try:
            return call(balance_pb2_grpc.BalanceServiceStub(channel))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise InvalidInputError(str(error.details()).partition(": ")[2]) from error
            raise UnavailableError(
                f"controller = {address!r}: {error.code().name}, {error.details()}; is it running "
                "there? (meshlb controller)"
            ) from error


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text; columns whose every cell is a number stand right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_numeric(cell) for cell in column[1:]) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join(lines)


def _numeric(cell: str) -> bool:
    return cell in ("", "-") or cell[:1].isdigit()
