"""A tiny BalanceService, a model server and a sidecar in one event loop, on loopback."""

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest
import structlog
from structlog.testing import LogCapture

from meshlb import wire_time
from meshlb.model import NodeInfo
from meshlb.v1 import balance_pb2, balance_pb2_grpc
from sidecar.agent import Agent
from tests.waiting import until_aio


class Controller(balance_pb2_grpc.BalanceServiceServicer):
    """Remembers what it is told; orders one interval; refuses if it was told to."""

    def __init__(self, interval_s=0.02):
        self.interval_s = interval_s
        self.reports = []
        self.goodbyes = []
        self.draining = False
        self.streams = 0
        self.refusal = None
        self.server = None
        self.port = 0

    async def ReportLoad(self, requests, context):  # noqa: N802
        self.streams += 1
        ordered = None
        async for request in requests:
            if self.refusal:
                await context.abort(*self.refusal)
            self.reports.append(request.report)
            if request.HasField("goodbye"):
                self.goodbyes.append(request.goodbye)
                return
            if ordered != self.interval_s:
                ordered = self.interval_s
                yield balance_pb2.ReportLoadResponse(
                    report_interval=wire_time.duration(ordered), draining=self.draining
                )

    async def start(self):
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        balance_pb2_grpc.add_BalanceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()
        return self

    async def stop(self):
        await self.server.stop(0)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    async def until(self, condition, what=""):
        """Wait for a report that satisfies the condition; give it."""
        found = []

        def last():
            found[:] = [r for r in self.reports[-1:] if condition(r)]
            return found

        await until_aio(last, what)
        return found[0]


@contextlib.asynccontextmanager
async def controller(interval_s=0.02):
    made = await Controller(interval_s).start()
    try:
        yield made
    finally:
        await made.stop()


@contextlib.asynccontextmanager
async def model_server(*set_up, port=0):
    """A server; each of ``set_up`` is called with it before it starts."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for one in set_up:
        one(server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    server.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def agent(*controllers, node, slots=None, drain=False):
    """A running agent; ``stop()`` ends it in order, as leaving does."""
    info = NodeInfo(service="s", node_id="n", incarnation=1, address=node, slots=slots)
    made = Agent(info, [c if isinstance(c, str) else c.address for c in controllers], None, drain)
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))

    async def end():
        stop.set()
        await asyncio.wait_for(running, 60)

    made.stop = end
    try:
        yield made
    finally:
        await end()


class Process:
    """The real command."""

    def __init__(self, *arguments):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "sidecar", *arguments],
            stdout=self._log, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    @property
    def log(self):
        self._log.seek(0)
        return self._log.read()

    async def ended(self):
        await until_aio(lambda: self.popen.poll() is not None, "the sidecar ends")
        return self.popen.returncode

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._log.close()


@pytest.fixture
def sidecar_process():
    made = []

    def start(*arguments):
        made.append(Process(*map(str, arguments)))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def loopback(monkeypatch):
    """What tests are made of, with checks that come fast, and all that the sidecar logs."""
    for module in ("probes.orca", "probes.health"):
        importlib.import_module(f"sidecar.{module}")
    captured = LogCapture()
    log = structlog.wrap_logger(
        None, processors=[captured], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    for module in ("agent", "report_stream", "probes.orca"):
        monkeypatch.setattr(f"sidecar.{module}.log", log)
    monkeypatch.setattr("sidecar.probes.health.PERIOD_S", 0.05)
    # The machine may stall: what comes late is no failure, but where a test makes it one.
    monkeypatch.setattr("sidecar.probes.health.LIMIT_S", 60.0)
    monkeypatch.setattr("sidecar.agent.FIRST_LOOK_S", 60.0)
    monkeypatch.setattr("sidecar.agent.GOODBYE_LIMIT_S", 60.0)
    monkeypatch.setattr("sidecar.probes.orca.AGAIN_S", 0.05)
    return SimpleNamespace(
        controller=controller,
        model_server=model_server,
        agent=agent,
        until=until_aio,
        logs=captured.entries,
    )
