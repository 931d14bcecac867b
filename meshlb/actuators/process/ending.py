"""Ends what a ledger names: SIGTERM to the group, a while, SIGKILL; nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from signal import SIGKILL, SIGTERM, Signals

from meshlb import os_process
from meshlb.actuators.process.entry import Child, Entry
from meshlb.errors import MeshlbError, UnavailableError
from meshlb.os_process import ProcessName

KILL_LIMIT_S = 10.0
"""For the kernel to end what was killed; a process in an uninterruptible wait may take longer."""
REAP_LIMIT_S = 5.0
"""For the kernel to hand over the exit code of what has ended."""
SIDECAR_GRACE_S = 5.0
"""A sidecar says goodbye for 2 s at most."""


async def end(child: Child, grace_s: float | None) -> str:
    """End a process and all that it started; return how: "gone already", "SIGTERM", "SIGKILL".

    ``grace_s`` None: by SIGKILL alone, so that it says no goodbye.

    Raises UnavailableError, naming the pids, if something outlives SIGKILL or is not ours.
    """
    how = await _end(child, grace_s)
    if child.process is not None:  # nothing of it is left, so its pid may go
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.process.wait, REAP_LIMIT_S)
    return how


async def _end(child: Child, grace_s: float | None) -> str:
    found = await _signalled(child, SIGTERM if grace_s is not None else SIGKILL)
    if not found:
        return "gone already"
    if grace_s is not None and await _all_gone(child, found, grace_s):
        return "SIGTERM"
    give_up = time.monotonic() + KILL_LIMIT_S
    while found := await _signalled(child, SIGKILL):  # again for what was forked meanwhile
        await _all_gone(child, found, 1.0)
        if time.monotonic() > give_up:
            raise UnavailableError(
                f"pid {', '.join(str(one.pid) for one in found)}: still there after SIGKILL",
                reason="CANNOT_STOP",
            )
    return "SIGKILL"


async def stop_all(entries: Sequence[Entry], drop: Callable[[str], None],
                   say: Callable[[str], None]) -> None:  # fmt: skip
    """Stop all replicas at once, without a controller; raises MeshlbError if some could not be.

    Entries of those that are gone are dropped; the others stay, to be tried again.
    """
    problems: list[str] = []

    async def stop(entry: Entry) -> None:
        pid = entry.server.name.pid if entry.server.name else None
        try:
            how = await end(entry.server, entry.grace_s)
            await end(entry.sidecar, SIDECAR_GRACE_S)
            await asyncio.to_thread(drop, entry.replica_id)
        except MeshlbError as error:
            problems.append(f"{entry.replica_id}: {error}")
            say(f"{entry.replica_id}: not stopped: {error}")
            return
        at = f" (pid {pid}, {entry.address})" if pid else ""
        say(f"{entry.replica_id}{at}: {how if how == 'gone already' else f'stopped by {how}'}")

    await asyncio.gather(*(stop(entry) for entry in entries))
    if problems:
        raise UnavailableError("; ".join(problems), reason="CANNOT_STOP")


async def _signalled(child: Child, number: Signals) -> list[ProcessName]:
    return await asyncio.to_thread(_signal, child, number)


def _members(child: Child) -> list[ProcessName]:
    return os_process.members(child.name, child.token, child.unreaped)


def _signal(child: Child, number: Signals) -> list[ProcessName]:
    """Signal all that runs of it; return those."""
    found = _members(child)
    try:
        return [one for one in found if os_process.send(one, number)]
    except PermissionError as error:
        raise UnavailableError(
            f"pid {', '.join(str(one.pid) for one in found)}: processes that we may signal "
            f"({error})",
            reason="CANNOT_STOP",
        ) from error


async def _all_gone(child: Child, known: list[ProcessName], limit_s: float) -> bool:
    """Wait until nothing runs of it, for so long at most; whether that came."""
    give_up = time.monotonic() + limit_s
    pause_s = 0.01
    while True:
        known = [one for one in known if os_process.lives(one)]
        if not known:  # only now a look at all processes, which is dear
            known = await asyncio.to_thread(_members, child)
        if not known:
            return True
        if time.monotonic() >= give_up:
            return False
        await asyncio.sleep(min(pause_s, max(0.0, give_up - time.monotonic())))
        pause_s = min(0.25, pause_s * 2)
