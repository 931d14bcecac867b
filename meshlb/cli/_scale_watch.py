"""``meshlb scale watch``: a line at each change, through a controller's restart."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

import grpc

from meshlb.cli import _ask, _scale_text, _text
from meshlb.errors import UnavailableError
from meshlb.v1 import scale_pb2, scale_pb2_grpc

PATIENCE_S = 60.0
RETRY_S = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of ``scale watch``."""
    parser.add_argument("service", metavar="SERVICE", nargs="?", default="", help="only this one")
    _ask.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print until interrupted; a controller that went is waited for, for a minute."""
    request = scale_pb2.WatchScaleRequest(service=args.service)
    shown: dict[str, str] = {}
    heard, gone = time.monotonic(), False
    while True:
        with _ask.place(args).channel() as channel:
            problem = "the stream ended"
            try:
                for message in scale_pb2_grpc.ScaleServiceStub(channel).WatchScale(request):
                    heard, gone = time.monotonic(), False
                    _print(message.scale, shown, as_json=args.json)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    _ask.failed(_ask.place(args), error)
                problem = str(error.details())
        if not shown or time.monotonic() - heard > PATIENCE_S:
            problem = _ask.place(args).why_not() or problem
            raise UnavailableError(
                f"controller = {args.controller!r}: {problem}; is it running there? "
                "(meshlb controller)"
            )
        if not gone:
            print(f"meshlb: controller gone ({problem}); trying again", file=sys.stderr)
        gone = True
        time.sleep(RETRY_S)


def _print(scale: scale_pb2.ScaleStatus, shown: dict[str, str], *, as_json: bool) -> None:
    """Print a state if it differs from the last one printed of that service."""
    held = _scale_text.held(scale)
    parts = [_scale_text.headline(scale)]
    if scale.HasField("manual"):
        parts.append("set by hand")
    if held != "-":
        parts.append(f"paused: {held}")
    told = "; ".join([*parts, scale.problem or _scale_text.why(scale.decision)]).removesuffix("; ")
    # Reasons carry figures that move all the time; only what follows from them makes a line.
    line = f"{parts} {scale.problem} {scale.etag} {scale.min_count} {scale.max_count}"
    if shown.get(scale.service) == line:
        return
    shown[scale.service] = line
    if as_json:
        print(_ask.as_json(scale, one_line=True), flush=True)
    else:
        clock = datetime.now(UTC).astimezone().strftime("%H:%M:%S")
        print(f"{clock}  {scale.service}: {told}"[: _text.cut()], flush=True)
