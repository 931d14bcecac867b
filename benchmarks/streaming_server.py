"""A model server that knows nothing of meshlb: python streaming_server.py HOST:PORT [START_S].

It streams, START_S seconds after it was started, as if it had loaded a model meanwhile. SIGTERM
ends it at once, with whatever is in flight: nobody but the controller sees to its calls.
Prints when it serves, and when its first call came, in Unix seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio

STREAM, CHAT, ASK = "/plain.Plain/Stream", "/plain.Plain/Chat", "/plain.Plain/Ask"
END = b"end"
SERVING = b"\x08\x01"
"""HealthCheckResponse(status=SERVING); importing protobuf for it would make a start dearer."""


class Server:
    """Numbered messages, so that a caller sees whether one is missing."""

    def __init__(self) -> None:
        self._called = False

    def _call(self) -> None:
        if not self._called:
            self._called = True
            print(f"called {time.time():.4f}", flush=True)

    async def stream(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        """Send "0", "1" ... and END; the request is "COUNT GAP_MS"."""
        del context
        self._call()
        count, gap_ms = map(int, request.split())
        for number in range(count):
            yield b"%d" % number
            await asyncio.sleep(gap_ms / 1000)
        yield END

    async def chat(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        """Send each message back, and END once the caller is done."""
        del context
        self._call()
        async for request in requests:
            yield request
        yield END

    async def ask(self, request: bytes, context: object) -> bytes:
        """Answer with the request after so many milliseconds as it says."""
        del context
        self._call()
        await asyncio.sleep(int(request) / 1000)
        return request


async def check(request: bytes, context: object) -> bytes:
    """Say that it serves."""
    del request, context
    return SERVING


async def main(address: str, start_s: float) -> None:
    await asyncio.sleep(start_s)
    one = Server()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {
        "Stream": grpc.unary_stream_rpc_method_handler(one.stream),
        "Chat": grpc.stream_stream_rpc_method_handler(one.chat),
        "Ask": grpc.unary_unary_rpc_method_handler(one.ask),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("plain.Plain", methods),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        )
    )
    server.add_insecure_port(address)
    await server.start()
    print(f"serves {time.time():.4f}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
