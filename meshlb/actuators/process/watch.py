"""Waits for the end of a process, ours or adopted, without taking its pid away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

from meshlb import os_process
from meshlb.actuators.process.entry import Child

POLL_S = 0.25
"""Where the system has no pidfds."""
T = TypeVar("T")


async def ended(child: Child) -> int | None:
    """Wait until it has ended; return its exit code, negative for a signal; None: not ours to see.

    A child of ours stays unreaped, so that its group can still be told from a stranger's.
    """
    pid = child.unreaped
    if pid is None and child.name is not None:
        pid = child.name.pid
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        while _runs(child):  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(POLL_S)
        return _exit_code(child)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    try:
        loop.add_reader(descriptor, over.set)
        if _runs(child):  # else the pid is another's by now
            await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return _exit_code(child)


async def whole(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread; a cancellation waits for its end, so that nothing is half done."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _runs(child: Child) -> bool:
    if child.unreaped is not None:
        return _exit_code(child) is None
    return child.name is not None and os_process.lives(child.name)


def _exit_code(child: Child) -> int | None:
    if child.unreaped is None:
        return child.process.returncode if child.process is not None else None
    try:
        seen = os.waitid(os.P_PID, child.unreaped, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # somebody in this process waits for every child
        return child.process.poll() if child.process is not None else None
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
