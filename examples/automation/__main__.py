"""Have nodes ready before a job, and give them back after: scaling by RPC, done safely.

    python -m examples.automation llama 4
    python -m examples.automation llama 4 --controller host:7700 -- python job.py

Raises the least count of a service to COUNT, waits until so many nodes are ready, runs the command
behind `--`, and ends what it set. The autoscaler stays in charge above COUNT. What to copy:

- Each change has a `request_id`. When nobody knows whether a change was made, the same one again is
  safe: it is made once.
- Each change rests on the `etag` of what was read. If somebody else changed something meanwhile,
  the controller refuses (ABORTED, reason STALE_ETAG), and the script looks again before it decides.
- What is set has an `expire_time`, so that it ends even if the script is killed.
- WatchScale tells when the nodes are there; the stream is opened again if the controller restarts.

Exit codes: those of the command; without one 0 ready, 1 failed or not in time, 2 called wrongly,
3 refused.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import grpc

from meshlb.v1 import scale_pb2, scale_pb2_grpc

T = TypeVar("T")
Stub = scale_pb2_grpc.ScaleServiceStub
TRIES = 8
CALL_LIMIT_S = 5.0
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
WRONG = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
REFUSED = (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION)


def patiently(call: Callable[[], T]) -> T:
    """Make a call that may be made twice until it succeeds, with growing pauses between tries."""
    for number in range(TRIES):
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in AGAIN or number == TRIES - 1:
                raise
            time.sleep(min(5.0, 0.1 * 2**number))
    raise AssertionError("the last try returns or raises")


def raise_least(
    stub: Stub, service: str, count: int, lasts_s: float
) -> tuple[str, scale_pb2.ManualScale | None]:
    """Have at least ``count`` nodes wanted for ``lasts_s``.

    Returns the etag of the change, and what was set by hand before it. If the etag it began with is
    stale, it looks at what there is now and decides again.
    """
    for number in range(TRIES):
        asked = scale_pb2.GetScaleRequest(service=service)
        now = patiently(partial(stub.GetScale, asked, timeout=CALL_LIMIT_S)).scale
        manual = scale_pb2.ManualScale()
        manual.CopyFrom(now.manual)  # what others have set stays, if it is more
        manual.min_count = max(count, manual.min_count)
        manual.max_count = max(count, now.max_count)
        if manual.HasField("count"):
            manual.count = max(count, manual.count)
        manual.reason = f"{count} nodes for a job"
        manual.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=lasts_s))
        request = scale_pb2.SetScaleRequest(
            service=service, request_id=str(uuid.uuid4()), etag=now.etag, manual=manual
        )
        try:
            answer = patiently(partial(stub.SetScale, request, timeout=CALL_LIMIT_S))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED or number == TRIES - 1:
                raise
        else:
            return answer.scale.etag, now.manual if now.HasField("manual") else None
    raise AssertionError("the last try returns or raises")


def wait_ready(stub: Stub, service: str, count: int, limit_s: float) -> bool:
    """Return whether ``count`` nodes are ready within ``limit_s``."""
    give_up, shown = time.monotonic() + limit_s, ""
    while (left := give_up - time.monotonic()) > 0:
        request = scale_pb2.WatchScaleRequest(service=service)
        try:
            for message in stub.WatchScale(request, timeout=left):
                scale = message.scale
                line = (
                    f"{service}: {scale.target_count} wanted, {scale.ready_count} ready, "
                    f"{scale.starting_count} starting"
                )
                if line != shown:
                    print(line, file=sys.stderr)
                shown = line
                if scale.ready_count >= count:
                    return True
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
        time.sleep(min(0.5, max(0.0, give_up - time.monotonic())))
    return False


def give_back(stub: Stub, service: str, etag: str, before: scale_pb2.ManualScale | None) -> None:
    """Set again what was set before, unless somebody else has changed something since."""
    now = datetime.now(UTC)
    if before is not None and before.HasField("expire_time"):
        before = before if before.expire_time.ToDatetime(UTC) > now else None
    request = scale_pb2.SetScaleRequest(
        service=service, request_id=str(uuid.uuid4()), etag=etag, manual=before
    )
    try:
        patiently(partial(stub.SetScale, request, timeout=CALL_LIMIT_S))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:
            raise
        print(f"{service}: changed by others since, left as it is", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options, command = list(argv), list[str]()
    if "--" in options:
        split = options.index("--")
        options, command = list(argv[:split]), list(argv[split + 1 :])
    parser = argparse.ArgumentParser(
        prog="python -m examples.automation", usage="%(prog)s SERVICE COUNT [options] [-- COMMAND]"
    )
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("count", metavar="COUNT", type=int, help="nodes to have ready")
    parser.add_argument("--controller", default="127.0.0.1:7700", metavar="HOST:PORT")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds to wait for the nodes")
    parser.add_argument("--lasts", type=float, default=3600.0, help="seconds after which it ends")
    args = parser.parse_args(options)
    with grpc.insecure_channel(args.controller) as channel:
        stub = Stub(channel)
        try:
            etag, before = raise_least(stub, args.service, args.count, args.lasts)
            ready = wait_ready(stub, args.service, args.count, args.limit)
            code = 0 if ready else 1
            if not ready:
                print(
                    f"{args.service}: not {args.count} ready in {args.limit:g} s", file=sys.stderr
                )
            elif command:
                code = subprocess.run(command, check=False).returncode
            if command or not ready:
                give_back(stub, args.service, etag, before)
        except grpc.RpcError as error:
            print(f"{args.service}: {error.code().name}, {error.details()}", file=sys.stderr)
            return 2 if error.code() in WRONG else 3 if error.code() in REFUSED else 1
    return code


if __name__ == "__main__":
    sys.exit(main())
