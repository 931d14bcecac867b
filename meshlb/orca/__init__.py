"""Load reports from Python model servers: count calls, enforce slots, serve standard ORCA.

    recorder = orca.LoadRecorder(slots=8)
    server = grpc.aio.server(interceptors=[orca.aio_server_interceptor(recorder)])
    orca.add_service(server, recorder)          # needs meshlb[orca]

Useful without the rest of meshlb: any ORCA client can read it. Handlers add what only they know
through ``orca.current()`` (tokens, first token) and ``recorder`` (utilisation, own metrics).
"""

from meshlb.orca.interceptors import aio_server_interceptor, current, server_interceptor
from meshlb.orca.recorder import LoadRecorder, Snapshot, Ticket
from meshlb.orca.service import add_service

__all__ = [
    "LoadRecorder",
    "Snapshot",
    "Ticket",
    "add_service",
    "aio_server_interceptor",
    "current",
    "server_interceptor",
]
