"""A server in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from meshlb.model import TableNode

NODE_PROCESS = """
import sys, time
from concurrent import futures
import grpc
class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        def unary(request, context):
            time.sleep(float(sys.argv[1]))
            return request
        def stream(request, context):
            for n in range(int(request)):
                yield b"%d" % n
                time.sleep(float(sys.argv[1]))
        if details.method.endswith("Count"):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)
server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((Echo(),))
port = server.add_insecure_port("127.0.0.1:" + (sys.argv[2] if len(sys.argv) > 2 else "0"))
server.start()
print(port, flush=True)
sys.stdin.read()
"""


class NodeProcess:
    """A server in a process of its own, to be killed; unary Echo and streaming Count."""

    def __init__(self, name, delay_s=0.0, port=0):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODE_PROCESS, str(delay_s), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self.process.stdout.readline())

    @property
    def info(self):
        return TableNode(self.name, 1, f"127.0.0.1:{self.port}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
