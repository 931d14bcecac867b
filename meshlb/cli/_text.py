"""Text for a terminal: its width, wrapped reasons, the one bold line."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

LEAST, MOST = 60, 100


def width() -> int:
    """Return the columns to write in: the terminal's, within reason; 80 if there is none."""
    if not sys.stdout.isatty():
        return 80
    return min(MOST, max(LEAST, shutil.get_terminal_size((80, 24)).columns))


def cut() -> int | None:
    """Return where table lines are cut: at a terminal's edge; None where programs may read."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None


def bold(text: str) -> str:
    """Return text in bold if standard output is a terminal that may have it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[1m{text}\033[0m"


def hang(before: str, text: str, columns: int) -> str:
    """Return ``before`` and text beside it, wrapped; what follows stands below the text's begin."""
    indent = " " * len(before)
    lines = textwrap.wrap(text, max(20, columns - len(before)), break_on_hyphens=False) or [""]
    return "\n".join([before + lines[0], *(indent + line for line in lines[1:])]).rstrip()
