"""What ``meshlb scale`` changes: set, pause, resume; and waiting until a target is reached."""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import grpc

from meshlb.cli import _ask, _explain_next, _scale_explain, _scale_text, _text, _times
from meshlb.errors import InvalidInputError, UnavailableError
from meshlb.v1 import scale_pb2, scale_pb2_grpc

T = TypeVar("T")
MOST_NODES = 10_000
RETRY_S = 1.0


def change_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every change has: --reason, --etag, --request-id."""
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="why, for those who look later"
    )
    guard_arguments(parser)


def guard_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --etag and --request-id."""
    parser.add_argument(
        "--etag", default="", help="change only what has this etag; exit code 3 if it has another"
    )
    parser.add_argument(
        "--request-id",
        default="",
        metavar="ID",
        help="names this change: repeated with the same ID, it is done once; default a new one",
    )


def request_id(args: argparse.Namespace) -> str:
    """Return the one given, or a new one."""
    return args.request_id or str(uuid.uuid4())


def set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of ``scale set``."""
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("count", metavar="COUNT", nargs="?", help="nodes wanted")
    parser.add_argument("--min", metavar="N", help="least nodes meanwhile")
    parser.add_argument("--max", metavar="N", help="most nodes meanwhile")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--for", dest="span", metavar="SPAN", help="such as 30m or 2h; then it ends")
    ends.add_argument("--until", metavar="TIME", help='when it ends: "18:30" or ISO')
    parser.add_argument("--clear", action="store_true", help="end what was set by hand")
    parser.add_argument(
        "--wait",
        metavar="SPAN",
        help="return when so many nodes are ready as wanted; exit code 1 if not within SPAN",
    )
    change_arguments(parser)
    _ask.arguments(parser)


def run_set(args: argparse.Namespace) -> int:
    """Set or clear; print the state after."""
    wait_s = None if args.wait is None else _times.span(args.wait, "--wait")
    request = scale_pb2.SetScaleRequest(
        service=args.service, request_id=request_id(args), etag=args.etag, manual=_manual(args)
    )
    answer = changed(args, request.request_id, lambda s: s.SetScale(request, timeout=_ask.LIMIT_S))
    scale = answer.scale
    if wait_s is not None:
        scale = until_reached(_ask.place(args), args.service, request.manual, wait_s)
    if args.json:
        print(_ask.as_json(scale))
        return 0
    now, columns = datetime.now(UTC), _text.width() - 2
    lines = [f"{scale.service}: {_scale_text.headline(scale)}", *_scale_text.by_hand(scale, now)]
    if scale.manual.HasField("count") and not (
        scale.min_count <= scale.manual.count <= scale.max_count
    ):
        lines.append(
            f"but       bounds of {scale.min_count} to {scale.max_count} hold; "
            "--min and --max set others"
        )
    if args.clear and scale.HasField("decision"):
        # The count may well stay for a while: say why, and when it may change.
        record = _scale_explain.record_of(scale.decision)
        lines += _text.hang("", _scale_text.why(scale.decision), columns).splitlines()
        lines += _explain_next.holds(scale.decision, record, columns).splitlines()
    print("\n  ".join(lines))
    return 0


def run_pause(args: argparse.Namespace) -> int:
    """Pause one way or both."""
    ways = scale_pb2.ScalePause(
        scale_out=args.way in ("out", "both"), scale_in=args.way in ("in", "both"),
        reason=args.reason,
    )  # fmt: skip
    request = scale_pb2.PauseScaleRequest(
        service=args.service, request_id=request_id(args), etag=args.etag, pause=ways
    )
    answer = changed(
        args, request.request_id, lambda s: s.PauseScale(request, timeout=_ask.LIMIT_S)
    )
    return _print_pause(args, answer.scale)


def run_resume(args: argparse.Namespace) -> int:
    """Resume one way or both."""
    request = scale_pb2.ResumeScaleRequest(
        service=args.service, request_id=request_id(args), etag=args.etag,
        scale_out=args.way in ("out", "both"), scale_in=args.way in ("in", "both"),
    )  # fmt: skip
    answer = changed(
        args, request.request_id, lambda s: s.ResumeScale(request, timeout=_ask.LIMIT_S)
    )
    return _print_pause(args, answer.scale)


def _print_pause(args: argparse.Namespace, scale: scale_pb2.ScaleStatus) -> int:
    held = _scale_text.held(scale)
    if args.json:
        print(_ask.as_json(scale))
    else:
        print(f"{scale.service}: {'nothing is paused' if held == '-' else f'paused: {held}'}")
    return 0


def changed(
    args: argparse.Namespace, name: str, call: Callable[[scale_pb2_grpc.ScaleServiceStub], T]
) -> T:
    """Make a change; ask twice if nobody knows whether it was made, as its name allows."""
    try:
        return _ask.ask_scale(_ask.place(args), call)
    except UnavailableError:
        time.sleep(RETRY_S)
    try:
        return _ask.ask_scale(_ask.place(args), call)
    except UnavailableError as error:
        # With --for the same words ask for another end, and so for another change.
        again = "" if getattr(args, "span", None) else f"; to repeat it safely: --request-id {name}"
        raise UnavailableError(f"{error}{again}", reason=error.reason) from error


def until_reached(
    place: _ask.Place, service: str, manual: scale_pb2.ManualScale, limit_s: float
) -> scale_pb2.ScaleStatus:
    """Return the state in which as many nodes are ready as wanted, and none starts or drains.

    The target must be what ``manual`` says by then: an answer may come before the next decision.

    A controller that goes is waited for. Raises UnavailableError if ``limit_s`` is over first.
    """
    give_up = time.monotonic() + limit_s
    told = "nothing heard"
    while (left := give_up - time.monotonic()) > 0:
        with place.channel() as channel:
            stub = scale_pb2_grpc.ScaleServiceStub(channel)
            request = scale_pb2.WatchScaleRequest(service=service)
            try:
                for message in stub.WatchScale(request, timeout=left, wait_for_ready=True):
                    scale: scale_pb2.ScaleStatus = message.scale
                    told = _scale_text.headline(scale)
                    moving = scale.starting_count or scale.draining_count
                    even = scale.HasField("target_count") and (
                        scale.ready_count == scale.target_count and not moving
                    )
                    if even and _obeys(scale, manual):
                        return scale
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.CANCELLED,
                ):
                    _ask.failed(place, error)
        time.sleep(min(RETRY_S, max(0.0, give_up - time.monotonic())))
    raise UnavailableError(f"--wait: not reached in {_times.length(limit_s)}: {told}")


def _obeys(scale: scale_pb2.ScaleStatus, manual: scale_pb2.ManualScale) -> bool:
    """Return whether a target is one that ``manual`` and the bounds allow."""
    wanted = scale.target_count
    least = manual.min_count if manual.HasField("min_count") else wanted
    most = manual.max_count if manual.HasField("max_count") else wanted
    if manual.HasField("count"):
        bounded = min(max(manual.count, scale.min_count), scale.max_count)
        return wanted in (manual.count, bounded)
    return least <= wanted <= most


def _manual(args: argparse.Namespace) -> scale_pb2.ManualScale | None:
    faults: list[str] = []
    wanted = _count("COUNT", args.count, 0, faults)
    least = _count("--min", args.min, 0, faults)
    most = _count("--max", args.max, 1, faults)
    given = [name for name, value in (
        ("COUNT", args.count), ("--min", args.min), ("--max", args.max), ("--for", args.span),
        ("--until", args.until),
    ) if value is not None]  # fmt: skip
    if args.clear and given:
        faults.append(f"--clear: alone; it ends all that was set by hand, and {given[0]} sets some")
    elif not args.clear and given in ([], ["--for"], ["--until"]):
        faults.append("COUNT: a number of nodes, or --min or --max, or --clear")
    if least is not None and most is not None and least > most:
        faults.append(f"--min = {least}: at most --max = {most}")
    expires = None
    now = datetime.now(UTC)
    try:
        if args.span is not None:
            expires = now + timedelta(seconds=_times.span(args.span, "--for"))
        elif args.until is not None:
            expires = _times.instant(args.until, "--until", now, ahead=True)
    except InvalidInputError as error:
        faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    if args.clear:
        return None
    return scale_pb2.ManualScale(
        count=wanted, min_count=least, max_count=most, reason=args.reason,
        expire_time=None if expires is None else _times.stamp(expires),
    )  # fmt: skip


def _count(field: str, text: str | None, least: int, faults: list[str]) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit() and least <= int(text[:9]) <= MOST_NODES and len(text) < 9:
        return int(text)
    faults.append(f"{field} = {text[:140]!r}: a whole number from {least} to {MOST_NODES}")
    return None
