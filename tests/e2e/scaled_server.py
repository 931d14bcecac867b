"""A plain gRPC server for tests of scaling: python scaled_server.py HOST:PORT FOLDER.

Nothing is timed: it begins to serve once there is FOLDER/may-serve, and its streams end once there
is FOLDER/may-end. SIGTERM ends it at once, with whatever is in flight.
"""

import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
POLL_S = 0.02


def ask(request, context):
    return ADDRESS.encode()


def stream(request, context):
    """Say who it is, then numbers until the end is allowed, then "end"."""
    yield ADDRESS.encode()
    number = 0
    while context.is_active() and not (FOLDER / "may-end").exists():
        yield str(number).encode()
        number += 1
        time.sleep(POLL_S)
    yield b"end"


class Methods(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/plain.Plain/Ask":
            return grpc.unary_unary_rpc_method_handler(ask)
        if details.method == "/plain.Plain/Stream":
            return grpc.unary_stream_rpc_method_handler(stream)
        return None


while not (FOLDER / "may-serve").exists():
    time.sleep(POLL_S)
options = [("grpc.so_reuseport", 0)]
server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Methods()], options=options)
server.add_insecure_port(ADDRESS)
server.start()
threading.Event().wait()
