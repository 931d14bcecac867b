"""Starts one program in a session of its own, on a free port, with its output in a file."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from meshlb.actuators.process.entry import Child, Entry
from meshlb.actuators.process.params import Params, address_of, filled
from meshlb.checks import parse_address
from meshlb.errors import UnavailableError
from meshlb.os_process import TOKEN, name_of

LAST_LINES, LINE_CHARACTERS, TAIL_BYTES = 5, 200, 8192
KEPT_LOGS = 100
"""Newest files of one service that stay in the folder."""
_IN_USE = re.compile(
    r"already in use|EADDRINUSE|(fail(ed|ure)|could not|cannot|can't|unable) to bind", re.IGNORECASE
)
_handed_out: set[int] = set()
"""Ports of this process's replicas: one that has not bound its port yet must not share it."""


def free_port(host: str) -> int:
    """Return a port that nobody listens at and no other replica was given.

    Raises UnavailableError if the host is none of this machine's.
    """
    try:
        family, _, _, _, at = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        for _ in range(1000):
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.bind(at)
                port = int(one.getsockname()[1])
            if port not in _handed_out:
                _handed_out.add(port)
                return port
    except OSError as error:
        raise UnavailableError(f"host = {host!r}: an address of this machine ({error})") from error
    raise UnavailableError(f"host = {host!r}: no free port is left")


def keep_port(address: str) -> None:
    """Mark a running replica's port as given."""
    with contextlib.suppress(ValueError):
        _handed_out.add(parse_address(address)[1])


def release_port(address: str) -> None:
    """Give a port back."""
    with contextlib.suppress(ValueError):
        _handed_out.discard(parse_address(address)[1])


def is_taken(address: str, log: Path, start: int) -> bool:
    """Return whether a server that ended at its start could not have its port.

    It wrote its log from the byte ``start`` on.
    """
    if _IN_USE.search("\n".join(last_lines(log, 50, start))):
        return True
    host, port = parse_address(address)
    with contextlib.suppress(OSError):
        family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as one:
            # As servers do: connections of one that has just ended are no hindrance.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(at)
            except OSError:
                return True
    return False


def is_strange(entry: Entry) -> bool:
    """Return whether who listens at a replica's address was there before its server was started.

    Then the server is about to fail, and it is the other one that answers.
    """
    ours = entry.server.name
    if ours is None:
        return False
    port = parse_address(entry.address)[1]
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            at = getattr(one.laddr, "port", None)
            if one.status != psutil.CONN_LISTEN or at != port or not one.pid:
                continue
            listener = name_of(one.pid)
            if listener is not None and listener.started_s < ours.started_s:
                return True
    return False


def server(entry: Entry, params: Params, service: str, log: Path) -> None:
    """Start a model server; ``entry.server`` is named after it. Raises UnavailableError."""
    host, port = parse_address(entry.address)
    values = {
        "host": host,
        "port": str(port),
        "address": address_of(host, port),
        "node_id": entry.replica_id,
        "service": service,
        "slots": str(entry.slots or ""),
    }
    command = [filled(word, values) for word in params.command]
    env = {name: filled(text, values) for name, text in params.env.items()}
    _start(command, env, params.cwd or None, log, entry.server)


def sidecar(entry: Entry, params: Params, service: str, log: Path) -> None:
    """Start a sidecar beside a running server. Raises UnavailableError."""
    # -P: a folder of the same name where the controller was started is not our sidecar.
    command = [sys.executable, "-P", "-m", "sidecar", "--controller", entry.controllers]
    command += ["--service", service, "--node", entry.address, "--node-id", entry.replica_id]
    command += ["--drain-on-exit", "--join-when-serving"]
    if entry.server.name is not None:
        command += ["--pid", str(entry.server.name.pid)]
    if entry.slots is not None:
        command += ["--slots", str(entry.slots)]
    if params.zone:
        command += ["--zone", params.zone]
    if params.authority:
        command += ["--authority", params.authority]
    for name, path in (
        ("ca", params.server_ca),
        ("cert", params.server_cert),
        ("key", params.server_key),
    ):
        command += [f"--node-{name}", path] if path else []
    command += params.sidecar_args
    _start(command, {}, None, log, entry.sidecar)


def _start(
    command: Sequence[str], env: Mapping[str, str], cwd: str | None, log: Path, child: Child
) -> None:
    if cwd is not None and not Path(cwd).is_dir():
        raise UnavailableError(f"cwd = {cwd!r}: a folder that is there")
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=cwd,
                # Unbuffered, so that a Python program's last words are in its log.
                env={"PYTHONUNBUFFERED": "1", **os.environ, **env, TOKEN: child.token},
                start_new_session=True,  # Ctrl-C and the controller's end are not its own
            )
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"command = {command[0]!r}: a program that can be started ({error})",
            reason="COMMAND_FAILED",
        ) from error
    child.process = process
    child.name = name_of(process.pid)


def last_lines(log: Path, count: int = LAST_LINES, start: int = 0) -> list[str]:
    """Return the last lines of a log that are not empty, each cut to a readable length."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ["".join(c if c.isprintable() else "?" for c in line)[:LINE_CHARACTERS]
            for line in lines[-count:]]  # fmt: skip


def how_it_ended(code: int | None, log: Path) -> str:
    """Return an exit and the last words before it, for a person."""
    if code is None:
        how = "ended, with an exit code that only its first controller could see"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        how = f"was killed by {name}"
    said = last_lines(log)
    words = f"its last lines: {' | '.join(said)}" if said else "it said nothing"
    return f"{how}; {words} ({log})"


def log_path(folder: Path, replica_id: str, role: str) -> Path:
    """Return where a replica's server or sidecar writes."""
    return folder / f"{replica_id}.{role}.log"


def make_room(folder: Path, service: str, running: Collection[str]) -> None:
    """Make the folder, and delete a service's oldest logs, never those of replicas that run.

    Raises UnavailableError if the folder cannot be had.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"log_dir = {str(folder)!r}: a folder that can be written ({error.strerror})"
        ) from error
    name = re.compile(rf"({re.escape(service)}-[0-9a-f]{{8}})\.(server|sidecar)\.log")
    with contextlib.suppress(OSError):
        found = [(path, name.fullmatch(path.name)) for path in folder.iterdir()]
        old = [path for path, of in found if of and of[1] not in running]
        old.sort(key=lambda path: path.stat().st_mtime)
        for path in old[:-KEPT_LOGS]:
            path.unlink(missing_ok=True)
