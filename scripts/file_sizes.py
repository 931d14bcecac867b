"""Fail on hand-written Python files over 500 lines, or over 300 with no reason in the docstring."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("meshlb", "sidecar", "examples", "benchmarks", "scripts")
LIMIT, WITH_REASON = 300, 500


def faults() -> list[str]:
    """Return one line a file that is too long."""
    found = []
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        if "/v1/" in path.as_posix():
            continue
        count = text.count("\n")
        reason = "long because" in (ast.get_docstring(ast.parse(text)) or "").lower()
        if count > WITH_REASON or (count > LIMIT and not reason):
            name = path.relative_to(ROOT)
            found.append(f"{name}: {count} lines; split it, or say 'Long because' in its docstring")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or 0)
