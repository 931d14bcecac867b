"""Plain model servers, all in one process: python stalling_servers.py MEAN_MS COUNT prints ports.

A line "N SECONDS" of its input lets each call at the N-th take so long from then on; 0: as before.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading

import grpc
import grpc.aio


def handler(number: int, mean_ms: float, stalls_s: list[float]) -> grpc.GenericRpcHandler:
    """Return what the N-th server serves."""
    rng = random.Random(number)

    async def serve(request: bytes, context: object) -> bytes:
        del context
        await asyncio.sleep(stalls_s[number] or rng.expovariate(1000 / mean_ms))
        return request

    made = grpc.unary_unary_rpc_method_handler(serve)
    return grpc.method_handlers_generic_handler("plain.Plain", {"Serve": made})


async def main(mean_ms: float, count: int) -> None:
    stalls_s = [0.0] * count
    servers = []
    for number in range(count):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((handler(number, mean_ms, stalls_s),))
        servers.append((server, server.add_insecure_port("127.0.0.1:0")))
        await server.start()
    print(*(port for _, port in servers), flush=True)

    def listen() -> None:
        for line in sys.stdin:
            number, seconds = line.split()
            stalls_s[int(number)] = float(seconds)

    threading.Thread(target=listen, daemon=True).start()
    await asyncio.gather(*(server.wait_for_termination() for server, _ in servers))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
