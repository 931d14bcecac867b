"""A model server of ``chaos.py``: python chaos_server.py PORT. Knows nothing of meshlb.

Each line of its input is how many seconds every call and message takes more from then on.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from streaming_server import ASK, END, STREAM, check

SERVICE = ASK.split("/")[1]


class Server:
    """Answers after a while, and counts its streams' messages, so that one missing is seen."""

    def __init__(self) -> None:
        self.slower_s = 0.0

    def listen(self) -> None:
        """Take in how slow it is to be."""
        for line in sys.stdin:
            self.slower_s = float(line)

    async def ask(self, request: bytes, context: object) -> bytes:
        """Answer with the request after so many milliseconds as it says."""
        del context
        await asyncio.sleep(int(request) / 1000 + self.slower_s)
        return request

    async def stream(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        """Send FIRST to below COUNT, and END; the request is "FIRST COUNT GAP_MS"."""
        del context
        first, count, gap_ms = map(int, request.split())
        for number in range(first, count):
            await asyncio.sleep(gap_ms / 1000 + self.slower_s)
            yield b"%d" % number
        yield END


async def main(port: int) -> None:
    one = Server()
    threading.Thread(target=one.listen, daemon=True).start()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {
        ASK.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(one.ask),
        STREAM.rpartition("/")[2]: grpc.unary_stream_rpc_method_handler(one.stream),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
