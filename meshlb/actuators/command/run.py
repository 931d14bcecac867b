"""Runs a program to its end, within a time and a size, in the thread that calls."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from meshlb.errors import UnavailableError

MOST_BYTES = 4 * 1024 * 1024
"""Of stdout; a program that prints more is ended."""
KEPT_BYTES, QUOTED_LINES, QUOTED_CHARACTERS = 8192, 5, 200
"""Of stderr."""
LOOK_S = 0.05
"""How soon the end of a program that closed its output early is noticed, or that of the caller."""


def run(
    command: Sequence[str],
    told: str,
    limit_s: float,
    env: Mapping[str, str],
    cwd: str | None,
    stops: Sequence[threading.Event],
) -> bytes:
    """Give a program a text on stdin; return what it printed on stdout.

    Raises UnavailableError, with its last words on stderr, if it cannot be started, fails, takes
    longer than ``limit_s``, prints too much, or one of ``stops`` is set: then it is killed.
    """
    what = f"command = {' '.join(command)!r:.200}"
    with tempfile.TemporaryFile() as stdin:  # a pipe that nobody reads would fill up
        stdin.write(told.encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env={**os.environ, **env},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"{what}: a program that can be started ({error})", reason="COMMAND_FAILED"
            ) from error
    out, err = bytearray(), bytearray()
    with process:
        problem = _hear(process, out, err, time.monotonic() + limit_s, stops)
        if problem:
            # Nobody has waited for it, so that its group cannot be another's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if not problem and code != 0:
        problem = f"ended with {f'exit code {code}' if code > 0 else f'signal {-code}'}"
    elif problem == _LATE:
        problem = f"did not end within {limit_s:g} s, and was killed"
    if problem:
        raise UnavailableError(f"{what}: {problem}; {_quoted(err)}", reason="COMMAND_FAILED")
    return bytes(out)


_LATE = "late"


def _hear(
    process: subprocess.Popen[bytes],
    out: bytearray,
    err: bytearray,
    give_up: float,
    stops: Sequence[threading.Event],
) -> str:
    """Take in what it says until it has ended; return why it must be killed, empty: it need not."""
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, err)
        while True:
            ready = selector.select(LOOK_S)
            for key, _ in ready:
                said = os.read(key.fd, 65536)
                if not said:
                    selector.unregister(key.fileobj)
                key.data.extend(said)
            del err[:-KEPT_BYTES]
            if len(out) > MOST_BYTES:
                return f"printed more than {MOST_BYTES} bytes, and was killed"
            # What it left running may hold its output open: that is none of ours to wait for.
            if not ready and _has_ended(process.pid):
                return ""
            if any(stop.is_set() for stop in stops):
                return "was killed, since the controller ends"
            if time.monotonic() > give_up:
                return _LATE


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _quoted(err: bytearray) -> str:
    lines = err.decode(errors="replace").splitlines()
    said = ["".join(c if c.isprintable() else "?" for c in line.strip()) for line in lines]
    last = [line[:QUOTED_CHARACTERS] for line in said if line][-QUOTED_LINES:]
    return f"its last words: {' | '.join(last)}" if last else "it wrote nothing to stderr"
