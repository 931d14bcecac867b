"""One caller: a process that makes its calls when they are due, whatever became of those before.

Reads one JSON line on stdin (the plan), prints {"ready": true}, reads another (when to start, by
the clock that all processes of a machine share), then prints one line a call that ended. Ends with
its stdin, so it never outlives the demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import grpc

from examples.demo.tally import Ended
from examples.modelserver.resume import GENERATE, continue_answer
from examples.modelserver.v1 import model_server_pb2 as pb
from examples.modelserver.v1 import model_server_pb2_grpc as pb_grpc

SERVICE = "examples.modelserver.v1.ModelService"
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""Both balancers get the same: gRPC retries by it itself; to meshlb it says "idempotent"."""
SENTENCES = (
    "The lighthouse keeper opened the door and saw",
    "A short recipe for bread: first",
    "The three largest rivers of Europe are",
    "When the train arrived at the station,",
    "The reason that the sky is blue is",
)
CONNECT_S = 60.0


def open_channel(balancer: str, target: str, picker: str | None) -> Any:
    """Return a channel to a fleet by way of meshlb, or of gRPC's own round_robin."""
    config: dict[str, Any] = {
        "methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": RETRY}]
    }
    if balancer == "round_robin":
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        return grpc.aio.insecure_channel(
            target, options=[("grpc.service_config", json.dumps(config))]
        )
    from meshlb import aio

    config["methodConfig"][0]["idleTimeout"] = "5s"  # a stream that falls silent is taken up too
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(config)),
        ("meshlb.resume", {GENERATE: continue_answer}),
    ]
    if picker:
        options.append(("meshlb.picker", picker))
    return aio.insecure_channel(target, options=options)


class Caller:
    """Makes calls on one channel and tells what became of each."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.ModelServiceStub(channel)
        self._open: set[asyncio.Task[None]] = set()

    async def run(self, arrivals: list[list[float]], start: float, until_s: float) -> None:
        """Make every call at its time; cut off what is open ``until_s`` after the start."""
        for number, (at, prompt, answer) in enumerate(arrivals):
            await asyncio.sleep(start + at - time.monotonic())
            task = asyncio.create_task(self._call(number, int(prompt), int(answer)))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        if self._open:
            await asyncio.wait(self._open, timeout=max(0.0, start + until_s - time.monotonic()))
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _call(self, number: int, prompt: int, answer: int) -> None:
        began = time.monotonic()
        seen = _Seen()
        code, details, cut_off = "OK", "", False
        text = SENTENCES[number % len(SENTENCES)]
        try:
            if answer:
                await self._generate(
                    pb.GenerateRequest(
                        prompt=text, prompt_token_count=prompt, max_token_count=answer
                    ),
                    seen,
                )
            else:
                done = await self._stub.Embed(pb.EmbedRequest(text=text, token_count=prompt))
                seen.message(done.node)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
        except asyncio.CancelledError:
            cut_off = True
        now = time.monotonic()
        tell(
            asdict(
                Ended(
                    node=seen.node,
                    generate=answer > 0,
                    first_s=None if seen.first is None else seen.first - began,
                    total_s=now - began,
                    code=code,
                    details=details[:200],
                    moves=seen.moves,
                    cut_off=cut_off,
                )
            )
        )

    async def _generate(self, request: pb.GenerateRequest, seen: _Seen) -> None:
        """Read an answer to its end; a gap, a repetition or a missing end is DATA_LOSS."""
        received, final = 0, False
        async for piece in self._stub.Generate(request):
            seen.message(piece.node)
            if piece.first_token != received or final:
                raise _lost(f"token {piece.first_token} came where {received} was due")
            received += piece.token_count
            final = piece.final
        if not final:
            raise _lost(f"the answer ended after {received} of {request.max_token_count} tokens")


class _Seen:
    """What one call got so far."""

    def __init__(self) -> None:
        self.node = ""
        self.first: float | None = None
        self.moves = 0

    def message(self, node: str) -> None:
        if self.first is None:
            self.first = time.monotonic()
        elif node != self.node:
            self.moves += 1
        self.node = node


def _lost(text: str) -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.DATA_LOSS, empty, empty, text)


def tell(what: dict[str, Any]) -> None:
    """Print one line for the demo."""
    print(json.dumps(what), flush=True)


async def main() -> None:
    """Follow the plan on stdin."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    plan = json.loads(await lines.readline() or "null")
    if plan is None:
        return
    async with open_channel(plan["balancer"], plan["target"], plan["picker"]) as channel:
        channel.get_state(try_to_connect=True)
        await asyncio.wait_for(channel.channel_ready(), CONNECT_S)
        tell({"ready": True})
        start = await lines.readline()
        if not start:
            return
        caller = asyncio.create_task(
            Caller(channel).run(plan["arrivals"], json.loads(start)["start"], plan["until_s"])
        )
        orphaned = asyncio.create_task(lines.read())
        await asyncio.wait({caller, orphaned}, return_when=asyncio.FIRST_COMPLETED)
        orphaned.cancel()
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller


if __name__ == "__main__":
    asyncio.run(main())
