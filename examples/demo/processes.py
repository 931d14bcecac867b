"""Starts the demo's child processes, and sees to it that none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from meshlb.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 3.0
START_S = 60.0
PR_SET_PDEATHSIG = 1
ADDRESS = re.compile(r"127\.0\.0\.1:[1-9]\d*\b")
_LIBC = ctypes.CDLL(None)  # found before any fork


class Child:
    """One running child; what it says, but for what is read line by line, is in ``log``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.returncode is None

    async def tell(self, what: object) -> None:
        """Write one JSON line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self) -> dict[str, Any] | None:
        """Return the next JSON line of its stdout; None at its end."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        return json.loads(line) if line else None

    async def each(self) -> AsyncIterator[dict[str, Any]]:
        """Give the JSON lines of its stdout to its end; raise if it did not end well."""
        while (line := await self.hear()) is not None:
            yield line
        if await self.process.wait() != 0:
            raise self.ended()

    async def address(self) -> str:
        """Return the first loopback address with a port that it prints."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if found := ADDRESS.search(self.log.read_text(errors="replace")):
                return found[0]
            if not self.alive:
                raise self.ended()
            await asyncio.sleep(0.05)
        raise UnavailableError(f"{self.name} did not say where it listens; see {self.log}")

    async def let_go(self, limit_s: float) -> None:
        """Close its stdin, and give it so long to end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), limit_s)

    def ended(self) -> UnavailableError:
        """Return the error for an end that nobody asked for, with its last words."""
        said = self.log.read_text(errors="replace").strip().splitlines()
        last = said[-1] if said else "it said nothing"
        return UnavailableError(f"{self.name} ended with {self.process.returncode}: {last}")


class Children:
    """All children of one run."""

    def __init__(self, logs: Path, *, tied: bool = True) -> None:
        """``tied``: the kernel kills them when the demo ends (Linux).

        Such children must all be started before this process has a second thread, such as gRPC's.
        Others end with their stdin.
        """
        self._logs = logs
        self._tied = tied
        self._all: list[Child] = []

    async def start(self, name: str, command: Sequence[str], *, talks: bool = False) -> Child:
        """Start ``python COMMAND`` from the clone's root; ``talks``: by JSON lines (``Child``)."""
        log = self._logs / f"{name}.log"
        pipe = asyncio.subprocess.PIPE
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=pipe if talks else asyncio.subprocess.DEVNULL,
                stdout=pipe if talks else out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # so that Ctrl-C reaches the demo alone, which stops them
                preexec_fn=_die_with_parent if self._tied and sys.platform == "linux" else None,
            )
        child = Child(name, process, log)
        self._all.append(child)
        return child

    async def stop(self) -> None:
        """Ask all to end, then make them."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            alive = [child for child in self._all if child.alive]
            for child in alive:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(sign)
            if alive:
                ends = [asyncio.ensure_future(child.process.wait()) for child in alive]
                await asyncio.wait(ends, timeout=STOP_S)


def _die_with_parent() -> None:
    """Have the kernel kill this child when the demo ends, however it ends (Linux)."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
