"""Two ways to show a run: a live screen, or lines."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from examples.demo import screen
from examples.demo.state import Run

PLAIN_EVERY_S = 2.0
SVG_WIDTH = 124
SVG_MOMENT = 0.7
"""Part of the load after which the picture is taken: well after the kill, calls still coming."""
FONT_LINKS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich links to fonts elsewhere; the reader's own will do."""


class Plain:
    """A line every two seconds, and one an event."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next_s = 0.0
        self._told: set[str] = set()

    def say(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def __call__(self, run: Run) -> None:
        """Write what is new."""
        for key, (at, text) in run.events.items():
            if key not in self._told:
                self._told.add(key)
                self._write(f"{at:5.1f} s  ** {text}")
        if run.elapsed_s >= self._next_s or run.over:
            self._next_s = run.elapsed_s + PLAIN_EVERY_S
            self._write(screen.line(run))


class Live:
    """The whole terminal, redrawn at each call; gone at the end. ``svg``: also makes a picture."""

    def __init__(self, console: Console, svg: Path | None) -> None:
        self._console = console
        self._live = RichLive(console=console, auto_refresh=False, screen=True)
        self._svg = svg
        self._taken: Console | None = None

    def say(self, text: str) -> None:
        """Write a line, before the first picture."""
        self._console.print(text, style="dim", highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, run: Run) -> None:
        """Draw the run."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(screen.frame(run, self._console.width), refresh=True)
        if self._svg and self._taken is None and run.elapsed_s > SVG_MOMENT * run.options.load_s:
            self._taken = Console(
                record=True, width=SVG_WIDTH, file=io.StringIO(), force_terminal=True
            )
            self._taken.print(screen.frame(run, SVG_WIDTH))
        if self._svg and self._taken and run.over:
            self._taken.print(Text(), screen.summary(run, SVG_WIDTH))
            svg = self._taken.export_svg(title="./scripts/demo")
            self._svg.write_text(FONT_LINKS.sub("", svg), encoding="utf-8")
