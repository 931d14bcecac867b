"""Plays the acts one after the other: shows each, prints its summary, writes the figures."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from rich.console import Console

from examples.demo import run as balance
from examples.demo import screen
from examples.demo.options import BALANCE, Options
from examples.demo.scaling import run as scaling
from examples.demo.scaling import screen as scaling_screen
from examples.demo.scaling.state import Act
from examples.demo.show import Live, Pictures, Plain, Shown
from examples.demo.state import MESHLB, Run

LINE_WIDTH = 120
"""Of the summary in a file or a pipe."""
BALANCE_PICTURES = Pictures[Run](
    frame=lambda run, width, _: screen.frame(run, width),
    summary=screen.summary,
    line=screen.line,
    svg_size=(124, 40),
    # well after the kill, calls still coming
    svg_moment_s=lambda run: 0.7 * run.options.load_s,
)
SCALING_PICTURES = Pictures[Act](
    frame=scaling_screen.frame,
    summary=scaling_screen.summary,
    line=scaling_screen.line,
    svg_size=(100, 48),
    # the load has fallen, and nodes drain
    svg_moment_s=lambda act: act.profile.peaks[-1].until_s + 4 * act.profile.calm_s,
)
T = TypeVar("T", bound=Shown)


def play(options: Options) -> int:
    """Play what was asked for; 0 if no call failed under meshlb, else 1."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=LINE_WIDTH)
    return asyncio.run(_play(options, console))


async def _play(options: Options, console: Console) -> int:
    figures: dict[str, Any] = {}
    failed = 0
    for act in options.acts:
        if act == BALANCE:
            cores = os.cpu_count() or 1
            run = await _shown(
                options,
                console,
                BALANCE_PICTURES,
                lambda say, show: balance.run(options, cores, say, show),  # noqa: B023
            )
            figures = run.as_json()
            failed += run.fleets[MESHLB].tally.total().failed
        else:
            scaled = await _shown(
                options,
                console,
                SCALING_PICTURES,
                lambda say, show: scaling.run(options, say, show),
            )
            figures["scaling"] = scaled.as_json()
            failed += scaled.tally.total().failed
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


async def _shown(
    options: Options,
    console: Console,
    pictures: Pictures[T],
    act: Callable[[Callable[[str], None], Callable[[T], None]], Awaitable[T]],
) -> T:
    with ExitStack() as stack:
        show: Plain[T] | Live[T]
        if options.plain or not console.is_terminal:
            show = Plain(print, pictures.line)
        else:
            show = stack.enter_context(Live(console, options.svg, pictures))
        state = await act(show.say, show)
    console.print(pictures.summary(state, console.width))
    return state
