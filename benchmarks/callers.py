"""Client processes of ``tail.py``: each one of its own, calling open-loop through one contender.

Arrivals are Poisson, drawn before the start, and the same for every contender. A latency counts
from the intended arrival, so a client that falls behind does not hide it.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

METHOD = "/plain.Plain/Serve"
DEADLINE_S = 20.0
Result = tuple[float, float, str]
"""Seconds from the start to the intended arrival, latency in seconds, error ("" for none)."""


@dataclass(slots=True)
class Perfect:
    """One shared, perfect count of calls in flight, with true speeds: the ideal."""

    service_s: list[float]
    slots: int
    counts: Any = field(init=False)
    lock: Any = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.counts = context.RawArray("i", len(self.service_s))
        self.lock = context.Lock()

    def begin(self) -> int:
        """Take the node of the shortest expected delay."""
        with self.lock:
            costs = [
                s * (1 + max(0, q + 1 - self.slots) / self.slots)
                for s, q in zip(self.service_s, self.counts, strict=True)
            ]
            best = costs.index(min(costs))
            self.counts[best] += 1
            return best

    def end(self, node: int) -> None:
        """Give it back."""
        with self.lock:
            self.counts[node] -= 1


Open = Callable[[int], Any]
"""From a client's number to its async call function."""


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return Poisson arrivals over ``seconds``, in seconds from the start."""
    rng = random.Random(seed)
    found, at = [], 0.0
    while True:
        at += rng.expovariate(rate)
        if at >= seconds:
            return found
        found.append(at)


async def _call_all(open_: Open, number: int, plan: list[float], start_at: float) -> list[Result]:
    call = open_(number)
    results: list[Result] = []

    async def one(at: float) -> None:
        wrong = ""
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            wrong = f"{error.code().name}: {error.details()}"
        except Exception as error:
            wrong = repr(error)
        results.append((at, time.monotonic() - start_at - at, wrong))

    running = set()
    for at in plan:
        wait_s = start_at + at - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.ensure_future(one(at))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)
    return results


def _process(pipe: Any, open_: Open, number: int, plan: list[float], start_at: float) -> None:
    gc.freeze()
    pipe.send(asyncio.run(_call_all(open_, number, plan, start_at)))
    pipe.close()


def run(
    open_: Open, clients: int, rate: float, seconds: float, seed: int,
    began: Callable[[float], None] = lambda _: None,
) -> list[Result]:  # fmt: skip
    """Call from so many processes at ``rate`` calls a second together; return all results.

    ``began`` is told the instant of the start (``time.monotonic``), once all processes are there.
    """
    # Forked before gRPC is used here, which is safe, and cheap enough for 64 of them.
    context = multiprocessing.get_context("fork")
    start_at = time.monotonic() + 1.0 + clients * 0.05
    started = []
    for number in range(clients):
        ours, theirs = context.Pipe(duplex=False)
        plan = arrivals(rate / clients, seconds, seed * 1000 + number)
        process = context.Process(target=_process, args=(theirs, open_, number, plan, start_at))
        process.start()
        theirs.close()
        started.append((process, ours))
    began(start_at)
    results = []
    for process, pipe in started:
        try:
            results += pipe.recv()
        except EOFError:
            raise RuntimeError("a client process died") from None
        process.join()
    return results


def open_channel(make: Callable[[int], grpc.aio.Channel], deadline_s: float = DEADLINE_S) -> Open:
    """Return how a client calls through one channel."""

    def open_(number: int) -> Any:
        call = make(number).unary_unary(METHOD)
        return lambda: call(b"x", timeout=deadline_s)

    return open_


def open_perfect(perfect: Perfect, ports: list[int]) -> Open:
    """Return how a client calls with perfect knowledge."""

    def open_(_: int) -> Any:
        calls = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}").unary_unary(METHOD) for port in ports
        ]

        async def call() -> None:
            node = perfect.begin()
            try:
                await calls[node](b"x", timeout=DEADLINE_S)
            finally:
                perfect.end(node)

        return call

    return open_
