"""Processes of this machine, named so that no other can be meant, and signalled only as such.

A pid alone is soon somebody else's. A process is named by its pid, the time of its start after the
machine's boot, and that boot; those started for a replica also carry a random token in their
environment, which their own children inherit. A signal goes through a pidfd (Linux), opened before
the name is checked, so that what was checked is what is hit. All calls may read ``/proc`` of every
process: keep them out of an event loop.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from meshlb.errors import InvalidInputError

TOKEN = "MESHLB_REPLICA_TOKEN"  # noqa: S105 - a name to find it by, no secret
"""Environment variable that carries the token."""
TICK_S = 0.02
"""Start times are read to 0.01 s."""


@dataclass(frozen=True, slots=True)
class ProcessName:
    """One run of one process."""

    pid: int
    started_s: float
    """Seconds after the machine's boot, so that a clock set meanwhile changes nothing."""
    boot: str
    """Names the boot; empty where the system does not."""

    def to_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {"pid": self.pid, "started_s": self.started_s, "boot": self.boot}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ProcessName:
        """Read it back. Raises InvalidInputError for what ``to_json`` never wrote."""
        pid, started_s, boot = raw.get("pid"), raw.get("started_s"), raw.get("boot")
        good = type(pid) is int and pid > 0 and type(started_s) in (int, float)
        if not (good and isinstance(boot, str)):
            raise InvalidInputError(f"process = {dict(raw)!r:.200}: pid, started_s and boot")
        assert pid is not None
        assert started_s is not None
        return cls(pid, float(started_s), boot)


@functools.cache
def boot_name() -> str:
    """Return what names this boot of the machine; empty if the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def name_of(pid: int) -> ProcessName | None:
    """Return the name of the process that has this pid now; None if none has, or it has ended."""
    try:
        booted = psutil.boot_time()
        process = psutil.Process(pid)
        # One whose first thread has ended looks the same while its other threads run on.
        if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
            return None
        return ProcessName(pid, round(process.create_time() - booted, 3), boot_name())
    except psutil.Error:
        return None


def lives(name: ProcessName) -> bool:
    """Return whether that very process still runs."""
    now = name_of(name.pid)
    return now is not None and _same(now, name)


def is_ours(name: ProcessName, token: str) -> bool:
    """Return whether that very process still runs and is the one started with this token.

    Programs that write their title over their environment have lost the token: such a one must lead
    a process group of its own, as all that are started here do.
    """
    if not lives(name):
        return False
    carried = token_of(name.pid)
    if carried is None:
        with contextlib.suppress(OSError):
            return os.getpgid(name.pid) == name.pid
        return False
    return carried == token


def token_of(pid: int) -> str | None:
    """Return the token in a process's environment; None if it has none, or is not ours to read."""
    try:
        return psutil.Process(pid).environ().get(TOKEN)
    except (psutil.Error, OSError):
        return None


def carriers(tokens: Collection[str]) -> dict[str, list[ProcessName]]:
    """Return the running processes that carry each of the tokens; leaders of a session first."""
    found: dict[str, list[ProcessName]] = {}
    for pid in psutil.pids():
        token = token_of(pid)
        if token is not None and token in tokens and (name := name_of(pid)) is not None:
            found.setdefault(token, []).append(name)
    for names in found.values():
        names.sort(key=lambda name: (not leads(name), name.started_s, name.pid))
    return found


def leads(name: ProcessName) -> bool:
    """Return whether it leads a session, as all that are started here do."""
    try:
        return os.getsid(name.pid) == name.pid
    except OSError:
        return False


def members(leader: ProcessName | None, token: str, child: int | None = None) -> list[ProcessName]:
    """Return all that runs of what was started with a token: its group and what it left behind.

    ``child`` is the leader's pid if it is a child of ours that nobody has waited for: its group is
    ours even after its end, since the pid is not given to another before.
    """
    found = {name.pid: name for name in carriers({token}).get(token, ())}
    alive = leader is not None and is_ours(leader, token)
    group = child if child is not None else leader.pid if leader is not None and alive else None
    for pid in psutil.pids() if group is not None else ():
        with contextlib.suppress(OSError):
            if pid not in found and os.getpgid(pid) == group and (one := name_of(pid)):
                found[pid] = one
    if child is None and leader is not None and alive and not lives(leader):
        # It ended meanwhile, so that the group may have been another's: only the token tells now.
        return [name for name in found.values() if token_of(name.pid) == token]
    return list(found.values())


def send(name: ProcessName, number: signal.Signals) -> bool:
    """Signal that very process; whether it was there.

    Raises PermissionError for one that is not ours to signal.
    """
    with _held(name.pid) as descriptor:
        if not lives(name):
            return False
        try:
            if descriptor is None:
                os.kill(name.pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        return True


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """Give a pidfd; None where there are none, or there is no such process."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _same(one: ProcessName, other: ProcessName) -> bool:
    close = abs(one.started_s - other.started_s) <= TICK_S
    return close and one.pid == other.pid and one.boot == other.boot
