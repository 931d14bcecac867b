"""What the emulated sidecars and clients of ``control_plane.py`` share: streams, and the window.

They speak the real protocol. Each program is given HOST:PORT and OPTIONS-AS-JSON, prints "ready"
once all of its streams are open, reads "FROM UNTIL" (monotonic seconds, the counted window) and
prints what it saw as one line of JSON, ``late_s`` after the window, so that changes made within it
are still seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

SERVICE = "/meshlb.v1.BalanceService/"


def open_channels(controller: str, streams: int, per_connection: int) -> list[grpc.aio.Channel]:
    """Return enough connections, none of them shared with another process or channel."""
    count = -(-streams // per_connection)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [grpc.aio.insecure_channel(controller, options) for _ in range(count)]


def stream_of(channel: grpc.aio.Channel, method: str, response: Any = None) -> Any:
    """Open one stream of protobuf messages; responses stay bytes unless a type is given."""
    decode = None if response is None else response.FromString
    return channel.stream_stream(
        SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=decode,
    )()


async def until(condition: Callable[[], bool], tasks: list[asyncio.Task[None]]) -> None:
    """Wait for a condition that the tasks are to bring about; none of them ends meanwhile."""
    while not condition():
        ended = [task for task in tasks if task.done()]
        if ended:
            ended[0].result()
            raise RuntimeError("a stream ended while others were still being opened")
        await asyncio.sleep(0.05)


class Window:
    """The counted part of the run, told on standard input."""

    def __init__(self) -> None:
        self.starts_at = self.ends_at = float("inf")
        self._cpu = 0.0

    async def told(self) -> None:
        """Say that all is open, wait for the window, and for its start."""
        print("ready", flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        self.starts_at, self.ends_at = (float(part) for part in line.split())
        await asyncio.sleep(max(0.0, self.starts_at - time.monotonic()))
        self._cpu = time.process_time()

    async def over(self) -> float:
        """Wait for the window's end; return the part of a core that this process used."""
        await asyncio.sleep(max(0.0, self.ends_at - time.monotonic()))
        return (time.process_time() - self._cpu) / (self.ends_at - self.starts_at)

    def open(self, now: float) -> bool:
        """Return whether ``now`` counts."""
        return self.starts_at <= now < self.ends_at


async def write(call: Any, message: Any) -> None:
    """Send one message; raise with the status of a stream that has ended."""
    try:
        await call.write(message)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError) as error:
        code, details = await call.code(), await call.details()
        raise ConnectionError(f"{code.name}: {details}") from error


async def end_all(tasks: list[asyncio.Task[None]]) -> list[str]:
    """Cancel tasks that were to go on; return why those ended that did not."""
    broken = [repr(task.exception()) for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return broken


def run(load: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    """Run one program as the command line says, and print what it saw."""

    async def main() -> dict[str, Any]:
        return await load(sys.argv[1], json.loads(sys.argv[2]))

    print(json.dumps(asyncio.run(main())), flush=True)
