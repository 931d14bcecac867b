"""What machine a figure was measured on, how busy it was, and whether a figure is within reach."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

SATURATED = 0.85
"""Part of all cores in use above which times tell of the machine more than of the program."""


def describe() -> str:
    """Return one line: date, cores, processor, Python, grpcio, system."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else "an unknown processor"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {processor}, Python "
        f"{platform.python_version()}, grpcio {version('grpcio')}, Linux {platform.release()}"
    )


def verdict(what: str, value: float, reach: float, at_least: bool = False) -> str:
    """Return one line that says whether a figure is at most (or at least) what is to be reached."""
    good = value >= reach if at_least else value <= reach
    sign = ">=" if at_least else "<="
    return f"{'reached' if good else 'MISSED ':8} {what}: {value:.3g} (reach {sign} {reach:g})"


def saturation(used: float) -> str:
    """Return a warning if so great a part of all cores was in use; else nothing."""
    return f"SATURATED: {used:.0%} of all cores in use" if used > SATURATED else ""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def memory_mb(pid: int) -> tuple[float, float]:
    """Return resident and unshared memory of a process, in MB (10^6 bytes)."""
    found = psutil.Process(pid).memory_full_info()
    return found.rss / 1e6, found.uss / 1e6
