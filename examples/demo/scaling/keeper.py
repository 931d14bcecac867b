"""Starts the act's controller; ends it and all replicas when the demo ends, however it does.

Replicas outlive their controller, so that nobody but the state file knows them when a demo is
killed. This process waits for the end of its stdin, which a killed demo closes too, and has
``meshlb down`` stop all: ``python -m examples.demo.scaling.keeper FOLDER CONTROLLER-ARGUMENT...``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

STATE = "state.db"
"""In FOLDER."""
CONTROLLER_S = 10.0


def main() -> int:
    """Keep a controller until stdin or the controller ends; 0 if nothing is left."""
    folder, parent = Path(sys.argv[1]), os.getppid()
    state = folder / STATE
    command = [sys.executable, "-m", "meshlb.cli"]
    controller = subprocess.Popen(
        [*command, "controller", "--state", str(state), *sys.argv[2:]],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: controller.terminate())
    threading.Thread(target=end_with_stdin, args=(controller,), daemon=True).start()
    code = controller.wait()
    if state.exists():
        down = [*command, "down", "--state", str(state)]
        code = subprocess.run(down, stdout=sys.stderr, check=False).returncode or max(0, code)
    if os.getppid() != parent:  # the demo was killed, and left its folder
        shutil.rmtree(folder, ignore_errors=True)
    return code


def end_with_stdin(controller: subprocess.Popen[bytes]) -> None:
    """Stop the controller when the demo lets go."""
    sys.stdin.buffer.read()
    controller.terminate()
    try:
        controller.wait(CONTROLLER_S)
    except subprocess.TimeoutExpired:
        controller.kill()


if __name__ == "__main__":
    sys.exit(main())
