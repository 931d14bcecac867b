"""Stop all replicas that a state file names, and first the controller that holds it.

A controller that runs on the file would start them again, so it is ended before: by SIGTERM, and
by SIGKILL if it has not ended 30 s later. Each server gets SIGTERM, the grace that its service has
configured, then SIGKILL; nothing is drained. Ends with 0 when nothing is left, with 1 if something
could not be stopped; what is left stays in the file, to be stopped by the next try.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

from meshlb import os_process, plugins
from meshlb.controller import state_file
from meshlb.controller.store import Store
from meshlb.errors import ConflictError, MeshlbError, UnavailableError

ENDINGS = ((SIGTERM, 30.0), (SIGKILL, 10.0))
"""How a controller is ended, and how long each may take, in seconds."""
HOLDER_LIMIT_S, LOOK_S = 2.0, 0.05


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "--state", required=True, metavar="FILE", help="the file that the controller was given"
    )


def run(args: argparse.Namespace) -> int:
    """Stop them, saying each in a line."""
    path = Path(args.state)
    state_file.ledgers(path)  # never begins a file where there is none
    problems = asyncio.run(_down(path))
    if problems:
        raise UnavailableError("; ".join(problems), reason="CANNOT_STOP")
    return 0


async def _down(path: Path) -> list[str]:
    store = await _held(path)
    problems: list[str] = []
    try:
        found = {key: entries for key, entries in state_file.ledgers(path).items() if entries}
        if not found:
            print(f"no replicas are named in {path}")
        for (service, kind), entries in sorted(found.items()):
            try:
                module = plugins.load("meshlb.actuators", kind)
                if not hasattr(module, "stop_all"):
                    raise UnavailableError(
                        f"{service}: {', '.join(sorted(entries))}: started by actuator {kind!r}, "
                        "which cannot stop without a controller"
                    )
                await module.stop_all(store.ledger(service, kind), _say)
            except MeshlbError as error:
                problems.append(str(error))
    finally:
        await store.close()
    return problems


async def _held(path: Path) -> Store:
    """Return the open file, held so that no controller can begin on it; end the one that holds it.

    Raises ConflictError if that cannot be ended.
    """
    store = _opened(path)
    for number, limit_s in ENDINGS:
        if store is None and state_file.holder(path) is None:
            # It has just begun and not said who it is, or has just ended.
            store = await _opened_within(path, HOLDER_LIMIT_S)
        if store is not None:
            return store
        holder = state_file.holder(path)
        if holder is None:
            break
        _say(f"controller (pid {holder.pid}): {number.name}")
        try:
            os_process.send(holder, number)
        except PermissionError as error:
            raise ConflictError(
                f"state = {str(path)!r}: the controller that holds it, pid {holder.pid}, is not "
                "ours to stop"
            ) from error
        store = await _opened_within(path, limit_s)
    if store is None:
        raise ConflictError(
            f"state = {str(path)!r}: a controller holds it that cannot be ended from here; end it "
            "first"
        )
    return store


async def _opened_within(path: Path, limit_s: float) -> Store | None:
    give_up = time.monotonic() + limit_s
    while True:
        store = _opened(path)
        if store is not None or time.monotonic() >= give_up:
            return store
        await asyncio.sleep(LOOK_S)


def _opened(path: Path) -> Store | None:
    try:
        return Store(path, math.inf)
    except ConflictError:
        return None


def _say(line: str) -> None:
    print(line, flush=True)
