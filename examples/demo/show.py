"""Two ways to show a run: a live screen, or lines. Both acts are shown by them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live as RichLive
from rich.text import Text

PLAIN_EVERY_S = 2.0
FONT_LINKS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich links to fonts elsewhere; the reader's own will do."""


class Shown(Protocol):
    """What both acts' states have."""

    events: dict[str, tuple[float, str]]
    elapsed_s: float
    over: bool


T = TypeVar("T", bound=Shown)


@dataclass(frozen=True)
class Pictures(Generic[T]):
    """How one act is drawn."""

    frame: Callable[[T, int, int], RenderableType]
    """For a terminal of so many columns and lines."""
    summary: Callable[[T, int], RenderableType]
    line: Callable[[T], str]
    svg_size: tuple[int, int]
    svg_moment_s: Callable[[T], float]
    """When the picture is taken."""


class Plain(Generic[T]):
    """A line every two seconds, and one an event."""

    def __init__(self, write: Callable[[str], None], line: Callable[[T], str]) -> None:
        self._write = write
        self._line = line
        self._next_s = 0.0
        self._told: set[str] = set()

    def say(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def __call__(self, run: T) -> None:
        """Write what is new."""
        for key, (at, text) in run.events.items():
            if key not in self._told:
                self._told.add(key)
                self._write(f"{at:5.1f} s  ** {text}")
        if run.elapsed_s >= self._next_s or run.over:
            self._next_s = run.elapsed_s + PLAIN_EVERY_S
            self._write(self._line(run))


class Live(Generic[T]):
    """The whole terminal, redrawn at each call; gone at the end. ``svg``: also makes a picture."""

    def __init__(self, console: Console, svg: Path | None, pictures: Pictures[T]) -> None:
        self._console = console
        self._pictures = pictures
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

    def __call__(self, run: T) -> None:
        """Draw the run."""
        if not self._live.is_started:
            self._live.start()
        pictures, size = self._pictures, self._console.size
        self._live.update(pictures.frame(run, size.width, size.height), refresh=True)
        if self._svg is None:
            return
        width, height = pictures.svg_size
        if self._taken is None and run.elapsed_s > pictures.svg_moment_s(run):
            self._taken = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
            self._taken.print(pictures.frame(run, width, height))
        if self._taken is not None and run.over:
            self._taken.print(Text(), pictures.summary(run, width))
            svg = self._taken.export_svg(title="./scripts/demo")
            self._svg.write_text(FONT_LINKS.sub("", svg), encoding="utf-8")
