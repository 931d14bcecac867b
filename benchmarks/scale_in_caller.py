"""One caller of ``scale_in.py``: python scale_in_caller.py KIND CONTROLLER LINES SEED.

KIND is ``threads`` or ``asyncio`` (meshlb stubs), or ``stock`` (plain gRPC channels straight to the
servers, one a stream, unknown to the controller but for their connections). LINES calls at once,
all the time.
Ends its calls in order once its input ends, and prints as JSON what became of all of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field

import grpc
import grpc.aio
from streaming_server import ASK, CHAT, END, STREAM

import meshlb
from meshlb.v1 import balance_pb2, balance_pb2_grpc, routing_pb2

SERVICE = "bench"
GAP_MS = 40
DEADLINE_S = 120.0
TOLD = 20
"""Problems that are told in full."""


@dataclass(slots=True)
class Tally:
    """What became of a caller's calls."""

    streams: int = 0
    calls: int = 0
    messages: int = 0
    dropped: int = 0
    """Streams that the caller itself gave up half way, as users do."""
    broken: int = 0
    failed: int = 0
    late: int = 0
    """Stock only: opened at a server that had just gone; nothing was broken, another was called."""
    problems: list[str] = field(default_factory=list)

    def tell(self, what: str, problem: str) -> None:
        """Note what went wrong."""
        if len(self.problems) < TOLD:
            self.problems.append(f"{what}: {problem}")


@dataclass(slots=True)
class Plan:
    """One call to make."""

    method: str
    count: int
    """Messages; for ASK milliseconds."""
    leave_at: int
    """Message after which the caller gives up; ``count`` or more: never."""

    @property
    def request(self) -> bytes:
        """What STREAM and ASK are asked."""
        return b"%d %d" % (self.count, GAP_MS) if self.method == STREAM else b"%d" % self.count


def plan(rng: random.Random) -> Plan:
    """Draw the next call: most are streams of up to three seconds."""
    kind = rng.random()
    count = min(75, 1 + int(rng.expovariate(1 / 15)))
    if kind < 0.2:
        return Plan(ASK, rng.randrange(5, 50), 1)
    leave_at = rng.randrange(count) if rng.random() < 0.05 else count
    return Plan(STREAM if kind < 0.8 else CHAT, count, leave_at)


class Checked:
    """Follows one stream's messages."""

    def __init__(self, planned: Plan, tally: Tally) -> None:
        self._planned = planned
        self._tally = tally
        self.taken = 0
        self._ended = False
        self._wrong = ""

    def take(self, message: bytes) -> bool:
        """Take one in; whether to go on."""
        self._tally.messages += 1
        if message == END:
            self._ended = True
        elif message != b"%d" % self.taken and not self._wrong:
            self._wrong = f"message {self.taken} of {self._planned.count} was {message[:20]!r}"
        else:
            self.taken += 1
        return self.taken <= self._planned.leave_at

    def end(self, error: str) -> None:
        """Count how it ended."""
        planned, tally = self._planned, self._tally
        tally.streams += 1
        if not error and self.taken > planned.leave_at:
            tally.dropped += 1
            return
        if not self._ended or self.taken != planned.count:
            error = error or f"ended after {self.taken} of {planned.count} messages"
        if error or self._wrong:
            tally.broken += 1
            tally.tell(planned.method, error or self._wrong)


def text(error: grpc.RpcError) -> str:
    """Return what an error says."""
    return f"{error.code().name}: {error.details()}"


# --- threads ---------------------------------------------------------------------------------


def call_threads(channel: grpc.Channel, planned: Plan, tally: Tally) -> None:
    """Make one call and check it."""
    if planned.method == ASK:
        tally.calls += 1
        try:
            assert channel.unary_unary(ASK)(planned.request, timeout=DEADLINE_S) == planned.request
        except grpc.RpcError as error:
            tally.failed += 1
            tally.tell(ASK, text(error))
        return
    checked = Checked(planned, tally)
    try:
        if planned.method == STREAM:
            call = channel.unary_stream(STREAM)(planned.request, timeout=DEADLINE_S)
        else:
            call = channel.stream_stream(CHAT)(chat(planned.count), timeout=DEADLINE_S)
        for message in call:
            if not checked.take(message):
                call.cancel()
                break
    except grpc.RpcError as error:
        checked.end(text(error))
    else:
        checked.end("")


def chat(count: int) -> Iterator[bytes]:
    """Say so many messages, slowly."""
    pause = threading.Event()
    for number in range(count):
        yield b"%d" % number
        pause.wait(GAP_MS / 1000)


def threads(controller: str, lines: int, seed: int, stop: threading.Event) -> list[Tally]:
    """Call from so many threads over one channel."""
    tallies = [Tally() for _ in range(lines)]
    with meshlb.insecure_channel(f"mesh://{controller}/{SERVICE}") as channel:

        def run(number: int) -> None:
            rng = random.Random(f"{seed} {number}")
            while not stop.is_set():
                call_threads(channel, plan(rng), tallies[number])

        running = [threading.Thread(target=run, args=(number,)) for number in range(lines)]
        for one in running:
            one.start()
        for one in running:
            one.join()
    return tallies


# --- asyncio ---------------------------------------------------------------------------------


async def call_asyncio(channel: grpc.aio.Channel, planned: Plan, tally: Tally) -> int:
    """Make one call and check it; return the messages that came."""
    if planned.method == ASK:
        tally.calls += 1
        try:
            answer = await channel.unary_unary(ASK)(planned.request, timeout=DEADLINE_S)
            assert answer == planned.request
        except grpc.aio.AioRpcError as error:
            tally.failed += 1
            tally.tell(ASK, text(error))
        return 1
    checked = Checked(planned, tally)
    problem = ""
    try:
        if planned.method == STREAM:
            call = channel.unary_stream(STREAM)(planned.request, timeout=DEADLINE_S)
        else:
            call = channel.stream_stream(CHAT)(chat_asyncio(planned.count), timeout=DEADLINE_S)
        async for message in call:
            if not checked.take(message):
                call.cancel()
                break
    except grpc.aio.AioRpcError as error:
        problem = text(error)
    checked.end(problem)
    return checked.taken


async def chat_asyncio(count: int) -> AsyncIterator[bytes]:
    """Say so many messages, slowly."""
    for number in range(count):
        yield b"%d" % number
        await asyncio.sleep(GAP_MS / 1000)


async def over_stub(controller: str, lines: int, seed: int, stop: threading.Event) -> list[Tally]:
    """Call from so many tasks over one channel."""
    tallies = [Tally() for _ in range(lines)]
    async with meshlb.aio.insecure_channel(f"mesh://{controller}/{SERVICE}") as channel:

        async def run(number: int) -> None:
            rng = random.Random(f"{seed} {number}")
            while not stop.is_set():
                await call_asyncio(channel, plan(rng), tallies[number])

        await asyncio.gather(*(run(number) for number in range(lines)))
    return tallies


async def straight(controller: str, lines: int, seed: int, stop: threading.Event) -> list[Tally]:
    """Stream from servers that take calls, over a fresh plain channel each time."""
    tallies = [Tally() for _ in range(lines)]
    async with grpc.aio.insecure_channel(controller) as asking:
        stub = balance_pb2_grpc.BalanceServiceStub(asking)

        async def one(number: int, rng: random.Random) -> None:
            listed = await stub.ListNodes(balance_pb2.ListNodesRequest(), timeout=DEADLINE_S)
            there = [
                n.node.address for n in listed.nodes if n.state == routing_pb2.NODE_STATE_ACTIVE
            ]
            if not there:
                await asyncio.sleep(0.1)
                return
            planned = Plan(STREAM, rng.randrange(25, 75), 1000)
            tally = Tally()
            options = (("grpc.use_local_subchannel_pool", 1),)
            async with grpc.aio.insecure_channel(rng.choice(there), options) as channel:
                came = await call_asyncio(channel, planned, tally)
            mine = tallies[number]
            if tally.broken and came == 0:
                mine.late += 1
                return
            mine.streams += tally.streams
            mine.messages += tally.messages
            mine.broken += tally.broken
            mine.problems += tally.problems

        async def run(number: int) -> None:
            rng = random.Random(f"{seed} {number}")
            while not stop.is_set():
                await one(number, rng)

        await asyncio.gather(*(run(number) for number in range(lines)))
    return tallies


def summed(tallies: list[Tally]) -> Tally:
    """Return all of them as one."""
    whole = Tally()
    for one in tallies:
        for name, value in asdict(one).items():
            setattr(whole, name, getattr(whole, name) + value)
    return whole


def main() -> None:
    kind, controller, lines, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    if kind == "threads":
        tallies = threads(controller, lines, seed, stop)
    else:
        call = straight if kind == "stock" else over_stub
        tallies = asyncio.run(call(controller, lines, seed, stop))
    print(json.dumps(asdict(summed(tallies))), flush=True)


if __name__ == "__main__":
    main()
