"""A model server that knows nothing of meshlb: c slots, first come first served, random service.

Serving means sleeping, so that many servers fit on a small machine: python plain_server.py MEAN_MS
SLOTS SEED [PORT] prints its port. MEAN_MS 0 answers at once; below 0, its size, not at random.
"""

from __future__ import annotations

import asyncio
import random
import sys

import grpc
import grpc.aio

METHOD = "/plain.Plain/Serve"


async def main(mean_ms: float, slots: int, seed: int, port: int) -> None:
    rng = random.Random(seed)
    free = asyncio.Semaphore(slots)

    async def serve(request: bytes, context: object) -> bytes:
        del context
        if mean_ms:
            async with free:
                await asyncio.sleep(
                    rng.expovariate(1000 / mean_ms) if mean_ms > 0 else -mean_ms / 1000
                )
        return request

    handler = grpc.unary_unary_rpc_method_handler(serve)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("plain.Plain", {"Serve": handler}),)
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    given = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), given))
