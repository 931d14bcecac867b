"""Progress on standard error: bars with rich on a terminal, else a line for each thing done."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self


class Bars:
    """One bar for each name that ``update`` is called with."""

    def __init__(self) -> None:
        self._rich: Any = None
        self._tasks: dict[str, Any] = {}
        self._done: set[str] = set()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import Progress
            except ImportError:
                return self
            self._rich = Progress(console=Console(stderr=True), transient=True)
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def update(self, name: str, part: float) -> None:
        """Show that this part of it is done, in [0, 1]."""
        if self._rich is not None:
            if name not in self._tasks:
                self._tasks[name] = self._rich.add_task(name, total=1.0)
            self._rich.update(self._tasks[name], completed=part)
        elif part >= 1.0 and name not in self._done:
            self._done.add(name)
            print(f"{name}: done", file=sys.stderr, flush=True)
