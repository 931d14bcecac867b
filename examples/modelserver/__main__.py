"""Run one model server: ``python -m examples.modelserver --engine emulated --speed 0.5``.

Prints "listening on HOST:PORT" once it serves. Ends orderly on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import signal
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from examples.modelserver.engines import PACKAGE, Settings
from examples.modelserver.service import ModelService
from examples.modelserver.v1 import model_server_pb2, model_server_pb2_grpc
from meshlb import orca, plugins
from meshlb.errors import MeshlbError

GRACE_S, LOOK_S = 5.0, 0.05


def positive(text: str) -> float:
    """Return the number; ValueError unless it is finite and above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """Return the whole number; ValueError unless it is at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def arguments() -> argparse.Namespace:
    """Return the command line, read."""
    parser = argparse.ArgumentParser(prog="python -m examples.modelserver", description=__doc__)
    defaults = Settings()
    add = parser.add_argument
    add("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any free one")
    add("--name", default="", help="what answers say they come from (default: the address)")
    add("--engine", default="emulated", choices=plugins.names(PACKAGE))
    add("--speed", type=positive, default=defaults.speed, help="emulated: times the reference")
    add("--slots", type=count, default=defaults.slots, help="requests that run at once")
    add("--piece-tokens", type=count, default=defaults.piece_tokens, help="tokens a message")
    add("--threads", type=count, default=defaults.threads, help="llama: CPU threads")
    return parser.parse_args()


async def serve(args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    settings = Settings(args.speed, args.slots, args.piece_tokens, args.threads)
    engine = plugins.load(PACKAGE, args.engine).build(settings)
    # Two servers on one port would share its calls silently.
    recorder = orca.LoadRecorder()  # no slots: the engine has its own line, so count that in
    server = grpc.aio.server(
        interceptors=[orca.aio_server_interceptor(recorder)], options=[("grpc.so_reuseport", 0)]
    )
    orca.add_service(server, recorder)
    port = server.add_insecure_port(args.listen)
    address = f"{args.listen.rpartition(':')[0]}:{port}"
    model_server_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(engine, args.name or address), server
    )
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    name = model_server_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
    for service in ("", name):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection(
        (name, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
        server,
    )
    await server.start()
    print(f"listening on {address}", flush=True)
    await stop.wait()
    await healthy.enter_graceful_shutdown()
    stopping = asyncio.create_task(server.stop(GRACE_S))
    for _ in range(round(GRACE_S / LOOK_S)):
        await asyncio.sleep(LOOK_S)  # first: what has just arrived is not counted yet
        if not recorder.snapshot(time.monotonic()).in_flight:
            break
    await server.stop(None)  # streams of load reports would never end by themselves
    await stopping
    await engine.close()


def main() -> int:
    """Run; 1 with a line on stderr if the engine or the address cannot be had."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(arguments()))
    except (MeshlbError, RuntimeError, OSError) as error:
        print(f"modelserver: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
