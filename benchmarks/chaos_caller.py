"""One caller of ``chaos.py``: python chaos_caller.py threads|asyncio TARGET LINES SEED CERTS.

Calls all the time over LINES lines: idempotent unary calls, some of them hedged, and streams that
are taken up where they broke. Every one has DEADLINE_S, far longer than any fault lasts, so none
may fail. Ends once its input does, and prints what became of its calls as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from streaming_server import ASK, END, STREAM

import meshlb
import meshlb.aio

DEADLINE_S = 60.0
TOLD = 20
"""Problems that are told in full."""
RETRY = {
    "maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}  # fmt: skip


def name(method: str) -> dict[str, str]:
    """Return a method as a service config names it."""
    service, _, own = method.strip("/").partition("/")
    return {"service": service, "method": own}


def rest(request: bytes, received: Sequence[bytes]) -> bytes | None:
    """Return the request for what is missing of a stream."""
    if received[-1] == END:
        return None
    _, count, gap_ms = request.split()
    return b"%d %s %s" % (int(received[-1]) + 1, count, gap_ms)


def options(hedged: bool, certs: Path) -> list[tuple[str, Any]]:
    """Return the options of a channel; only the controllers have TLS."""
    who = meshlb.tls(ca=certs / "ca.pem", cert=certs / "client.pem", key=certs / "client.key")
    ask = {"hedgingPolicy": {"maxAttempts": 2}} if hedged else {"retryPolicy": RETRY}
    config = {
        "methodConfig": [
            {"name": [name(ASK)], **ask},
            {"name": [name(STREAM)], "retryPolicy": RETRY},
        ]
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        ("meshlb.resume", {STREAM: rest}),
        ("meshlb.controller_credentials", who),
    ]


@dataclass(slots=True)
class Tally:
    """What became of a caller's calls."""

    unary: int = 0
    streams: int = 0
    messages: int = 0
    lost: int = 0
    """Calls that failed, and streams that were not whole."""
    longest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def end(self, what: str, began_at: float, problem: str) -> None:
        """Count a call that has ended; ``problem``: "" for none."""
        took_s = time.monotonic() - began_at
        self.longest_s = max(self.longest_s, took_s)
        if problem:
            self.lost += 1
            if len(self.problems) < TOLD:
                self.problems.append(f"{what} after {took_s:.1f} s: {problem}")


def draw(rng: random.Random) -> tuple[str, bytes, int]:
    """Return method, request and messages of the next call."""
    if rng.random() < 0.7:
        return ASK, b"%d" % rng.randrange(2, 40), 1
    count = 1 + min(60, int(rng.expovariate(1 / 15)))
    return STREAM, b"0 %d 25" % count, count


def missing(messages: list[bytes], count: int) -> str:
    """Return what is wrong with a stream's messages, "" if nothing is."""
    wanted = [b"%d" % number for number in range(count)] + [END]
    return "" if messages == wanted else f"{len(messages)} messages of {count + 1}, or not in order"


def text(error: grpc.RpcError) -> str:
    """Return what an error says."""
    return f"{error.code().name}: {error.details()}"


def one_call(channel: grpc.Channel, tally: Tally, rng: random.Random) -> None:
    """Make one call and check it."""
    method, request, count = draw(rng)
    began_at, problem = time.monotonic(), ""
    try:
        if method == ASK:
            tally.unary += 1
            if channel.unary_unary(ASK)(request, timeout=DEADLINE_S) != request:
                problem = "another answer than was asked for"
        else:
            tally.streams += 1
            messages = list(channel.unary_stream(STREAM)(request, timeout=DEADLINE_S))
            tally.messages += len(messages)
            problem = missing(messages, count)
    except grpc.RpcError as error:
        problem = text(error)
    tally.end(method, began_at, problem)


def threads(target: str, lines: int, seed: int, certs: Path, stop: threading.Event) -> list[Tally]:
    """Call from so many threads."""
    tallies = [Tally() for _ in range(lines)]
    channels = [
        meshlb.insecure_channel(target, options=options(hedged, certs)) for hedged in (False, True)
    ]

    def run(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while not stop.is_set():
            one_call(channels[number % 2], tallies[number], rng)
            stop.wait(rng.uniform(0.0, 0.05))

    running = [threading.Thread(target=run, args=(number,)) for number in range(lines)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    for channel in channels:
        channel.close()
    return tallies


async def one_aio_call(channel: grpc.aio.Channel, tally: Tally, rng: random.Random) -> None:
    """Make one call and check it."""
    method, request, count = draw(rng)
    began_at, problem = time.monotonic(), ""
    try:
        if method == ASK:
            tally.unary += 1
            if await channel.unary_unary(ASK)(request, timeout=DEADLINE_S) != request:
                problem = "another answer than was asked for"
        else:
            tally.streams += 1
            call = channel.unary_stream(STREAM)(request, timeout=DEADLINE_S)
            messages = [message async for message in call]
            tally.messages += len(messages)
            problem = missing(messages, count)
    except grpc.aio.AioRpcError as error:
        problem = text(error)
    tally.end(method, began_at, problem)


async def tasks(
    target: str, lines: int, seed: int, certs: Path, stop: threading.Event
) -> list[Tally]:
    """Call from so many tasks."""
    tallies = [Tally() for _ in range(lines)]
    channels = [
        meshlb.aio.insecure_channel(target, options=options(hedged, certs))
        for hedged in (False, True)
    ]

    async def run(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while not stop.is_set():
            await one_aio_call(channels[number % 2], tallies[number], rng)
            await asyncio.sleep(rng.uniform(0.0, 0.05))

    await asyncio.gather(*(run(number) for number in range(lines)))
    for channel in channels:
        await channel.close()
    return tallies


def summed(tallies: list[Tally]) -> Tally:
    """Return all of them as one."""
    whole = Tally()
    for one in tallies:
        for key, value in asdict(one).items():
            before = getattr(whole, key)
            setattr(whole, key, max(before, value) if key == "longest_s" else before + value)
    return whole


def main() -> None:
    kind, target, lines, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    certs = Path(sys.argv[5])
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    if kind == "threads":
        tallies = threads(target, lines, seed, certs, stop)
    else:
        tallies = asyncio.run(tasks(target, lines, seed, certs, stop))
    print(json.dumps(asdict(summed(tallies))), flush=True)


if __name__ == "__main__":
    main()
