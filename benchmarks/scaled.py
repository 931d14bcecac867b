"""A controller that starts and stops streaming servers, for benchmarks of scaling."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from processes import HERE, Processes, free_port, wait_for_port

from meshlb.v1 import scale_pb2, scale_pb2_grpc

SERVICE = "bench"
READY = scale_pb2.REPLICA_STATE_READY
LIMIT_S = 600.0
"""For anything that is waited for: reached only if something is wrong."""


def _toml(value: object) -> str:
    return json.dumps(value)


class Scaled:
    """One controller with a state file; at the end it and all that it started are stopped."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        policy: Mapping[str, object],
        rules: str = "",
        start_s: float = 0.0,
        command: Sequence[str] = (),
        slots: int | None = None,
    ) -> None:
        """``policy`` is the table of the service's scale; ``rules`` is TOML to follow it.

        ``start_s``: what a server takes to load its model. ``command``: of another server than
        the streaming one; ``slots``: what it declares.
        """
        self.folder = folder
        self.state = folder / "state.db"
        self.log = folder / "controller.log"
        config = folder / "meshlb.toml"
        streaming = [sys.executable, str(HERE / "streaming_server.py"), "{address}", str(start_s)]
        lines = [f"[service.{SERVICE}.scale]", *(f"{k} = {_toml(v)}" for k, v in policy.items())]
        lines += [
            rules,
            f"[service.{SERVICE}.actuator]",
            'kind = "process"',
            f"command = {_toml(list(command) or streaming)}",
            f"log_dir = {_toml(str(folder / 'logs'))}",
            *([] if slots is None else [f"slots = {slots}"]),
        ]
        config.write_text("\n".join(lines))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.process = processes.python(
            "-m", "meshlb.cli", "controller", "--listen", self.address,
            "--config", config, "--state", self.state, log=self.log,
        )  # fmt: skip
        wait_for_port(port)
        self._channel = grpc.insecure_channel(self.address)
        self._stub = scale_pb2_grpc.ScaleServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()
        # Replicas outlive their controller, whatever becomes of this program.
        command = [sys.executable, "-m", "meshlb.cli", "down", "--state", str(self.state)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)

    def get(self) -> scale_pb2.ScaleStatus:
        """Return what the controller says of the service."""
        asked = scale_pb2.GetScaleRequest(service=SERVICE)
        return self._stub.GetScale(asked, timeout=60, wait_for_ready=True).scale

    def set(self, count: int | None) -> None:
        """Set the count by hand; None: end that."""
        request = scale_pb2.SetScaleRequest(service=SERVICE, request_id=uuid.uuid4().hex)
        if count is not None:
            request.manual.count = count
        self._stub.SetScale(request, timeout=60, wait_for_ready=True)

    def watch(self) -> Iterator[scale_pb2.ScaleStatus]:
        """Return the state at each change, until closed."""
        request = scale_pb2.WatchScaleRequest(service=SERVICE)
        for answer in self._stub.WatchScale(request, timeout=LIMIT_S):
            yield answer.scale

    def until(
        self, what: str, check: Callable[[scale_pb2.ScaleStatus], bool], every_s: float = 0.1
    ) -> scale_pb2.ScaleStatus:
        """Wait for a condition; TimeoutError says what was waited for."""
        give_up = time.monotonic() + LIMIT_S
        while not check(status := self.get()):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{what}: {status}")
            time.sleep(every_s)
        return status

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of the controller's log."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line, "level": "error"})
        return found


def serving(status: scale_pb2.ScaleStatus) -> int:
    """Return how many replicas take calls."""
    return sum(1 for replica in status.replicas if replica.state == READY)
