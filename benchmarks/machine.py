"""What machine a figure was measured on; every benchmark prints it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Return one line: date, cores, processor, Python, grpcio, system."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {names[0] if names else 'unknown'}, "
        f"Python {platform.python_version()}, grpcio {version('grpcio')}, Linux {platform.release()}"
    )
