"""Run every benchmark, one after another, and keep what each said: for a machine that is quiet.

    python benchmarks/everything.py FOLDER [--quick]

Writes NAME.txt and NAME.json into FOLDER. Takes about an hour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import psutil
from processes import HERE

SCRIPTS = ("overhead", "footprint", "control_plane", "tail")
QUIET = 0.1
"""Part of all cores in use by others above which figures are not worth keeping."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    more = ["--quick"] if args.quick else []
    failed = 0
    for name in SCRIPTS:
        busy = psutil.cpu_percent(interval=2) / 100
        if busy > QUIET:
            print(f"{name}: NOT QUIET, others use {busy:.0%} of all cores", file=sys.stderr)
        began = time.monotonic()
        with (args.folder / f"{name}.txt").open("w") as out:
            print(f"before the start others used {busy:.0%} of all cores", file=out, flush=True)
            command = [sys.executable, HERE / f"{name}.py", "--json",
                       args.folder / f"{name}.json", *more]  # fmt: skip
            ran = subprocess.run(command, stdout=out, check=False)
        failed += ran.returncode != 0
        how = "done" if ran.returncode == 0 else f"FAILED with {ran.returncode}"
        print(f"{name}: {how} after {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not args.quick:
        with (args.folder / "simulate_pickers.txt").open("w") as out:
            command = [sys.executable, HERE / "simulate_pickers.py"]
            failed += subprocess.run(command, stdout=out, check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
