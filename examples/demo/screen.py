"""Pictures of a run, for a terminal: plain functions from ``Run`` to what rich can draw."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.demo.state import MESHLB, ROUND_ROBIN, Known, Run
from examples.demo.tally import Figures, figures

OURS, THEIRS, DEAD = "#22b8cf", "#f06595", "bold red"
BAR_WIDTH = 7
WIDE, MIDDLE = 118, 100
"""Columns from which everything fits, and from which all but bars and what was learned."""
EVENTS_SHOWN = 5
AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}"
NOTHING = figures([])
ENGINES = {
    "emulated": "emulated engines (only a model's timing)",
    "llama": "real language model (Gemma 3 270M, llama.cpp)",
}


def frame(run: Run, width: int) -> RenderableType:
    """Return the whole screen, for a terminal of ``width`` columns."""
    options = run.options
    title = Text.assemble(
        (" meshlb ", f"bold #101010 on {OURS}"),
        f"  2 x {len(run.names)} model servers, {ENGINES[options.engine]}\n",
        (f"          {run.load}", "dim"),
    )
    progress = Table.grid(expand=True, padding=(0, 1))
    progress.add_column(ratio=1)
    progress.add_column(justify="right")
    share = min(1.0, run.elapsed_s / options.seconds)
    done = run.fleets[MESHLB].tally
    progress.add_row(
        ProgressBar(total=1.0, completed=share, complete_style=OURS, finished_style=OURS),
        f"{run.elapsed_s:4.0f} of {options.seconds:.0f} s   "
        f"{len(done.calls)} of {run.planned} calls",
    )
    return Panel(
        Group(
            title,
            Text(),
            nodes(run, width),
            Text(),
            totals(run, width),
            Text(),
            events(run),
            progress,
        ),
        border_style="dim",
        padding=(0, 1),
    )


def nodes(run: Run, width: int) -> Table:
    """Return one row a node, the same node of both fleets side by side."""
    wide, middle = width >= WIDE, width >= MIDDLE
    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False)

    def column(name: str, style: str, group: str = "", *, right: bool = True) -> None:
        head = Text.assemble((f"{group}\n", f"bold {style}"), (name, style))
        table.add_column(head, justify="right" if right else "left", no_wrap=True)

    column("node", "bold", right=False)
    column("speed", "dim")
    column("state", OURS, MESHLB, right=False)
    if wide:
        column("learned s", OURS)
        column("weight", OURS)
    for style, group in ((OURS, ""), (THEIRS, ROUND_ROBIN)):
        column("share", style, group)
        if not run.over:
            column("in flight", style, right=False)
        if middle:
            column("p50 s", style)
        column("p99 s", style)

    sums = {name: fleet.tally.by_node() for name, fleet in run.fleets.items()}
    most = max([8, *(n for fleet in run.fleets.values() for n in fleet.in_flight.values())])

    def cells(balancer: str, name: str, style: str) -> list[RenderableType]:
        fleet, figures = run.fleets[balancer], sums[balancer].get(name, NOTHING)
        row: list[RenderableType] = [_share(figures, len(fleet.tally.calls))]
        if not run.over:
            count = None if name == run.killed else fleet.in_flight.get(name)
            row.append(_in_flight(count, most, BAR_WIDTH if wide else 0, style))
        if middle:
            row.append(seconds(figures.p50_s))
        return [*row, seconds(figures.p99_s)]

    for name, speed in zip(run.names, run.options.speeds, strict=True):
        dead = name == run.killed
        known = run.known.get(name)
        weight = "-" if known is None or known.weight is None else f"{known.weight:.2f}"
        table.add_row(
            Text(name, DEAD if dead else "bold"),
            f"{speed:g}x",
            _state(known, dead),
            *((_curve(known), weight) if wide else ()),
            *cells(MESHLB, name, OURS),
            *cells(ROUND_ROBIN, name, THEIRS),
            style="dim" if dead else "",
        )
    return table


def totals(run: Run, width: int) -> Table:
    """Return both fleets' sums, and how many times as long the other took."""
    middle = width >= MIDDLE
    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    rare = ("taken up\nagain", "un-\nfinished") if middle else ()
    times = ("first token\np50 s", "\np99 s", "whole call\np50 s", "\np99 s")
    for name in ("\ncalls", "\nfailed", "broken\nstreams", *rare, *times):
        table.add_column(name, justify="right", no_wrap=True)
    both = [fleet.tally.total() for fleet in run.fleets.values()]
    spans = [(t.first_p50_s, t.first_p99_s, t.p50_s, t.p99_s) for t in both]
    more = [("", "", "", AT_LEAST if t.cut_off > 0.01 * t.calls else "") for t in both]
    for name, style, sums, taken, mark in zip(
        run.fleets, (OURS, THEIRS), both, spans, more, strict=True
    ):
        table.add_row(
            Text(name, f"bold {style}"),
            str(sums.calls),
            _bad(sums.failed),
            _bad(sums.broken),
            *((str(sums.moved), str(sums.cut_off)) if middle else ()),
            *(sign + seconds(value) for sign, value in zip(mark, taken, strict=True)),
        )
    ratios = [f"{t / o:.1f}x" if o and t else "-" for o, t in zip(*spans, strict=True)]
    if more[1][-1] and not more[0][-1]:
        ratios[-1] = AT_LEAST + ratios[-1]
    blank = [""] * (5 if middle else 3)
    table.add_row(Text("times as long", "dim"), *blank, *ratios, style="bold")
    return table


def events(run: Run) -> Text:
    """Return the last few events, a line each."""
    shown = list(run.events.values())[-EVENTS_SHOWN:]
    lines = [f"{at:5.1f} s  {text}" for at, text in shown]
    return Text("\n".join(lines + [""] * (EVENTS_SHOWN - len(lines))), style="yellow")


def summary(run: Run, width: int) -> RenderableType:
    """Return what is left on the terminal at the end."""
    failed = run.fleets[MESHLB].tally.total().failed
    verdict = (
        Text("No call failed under meshlb.", "bold green")
        if not failed
        else Text(f"{failed} calls failed under meshlb.", DEAD)
    )
    note = Text(
        "p50, p99 in seconds. First token: of Generate calls. Whole call: of all calls.\n"
        "Unfinished calls were still open at the end; they count with the time they had by then.",
        "dim",
    )
    return Panel(
        Group(nodes(run, width), Text(), totals(run, width), Text(), note, verdict),
        title=f"{run.options.seconds:.0f} s, {ENGINES[run.options.engine]}",
        subtitle=f"killed midway in both fleets: {run.killed}" if run.killed else None,
        border_style="dim",
        padding=(1, 1),
    )


def line(run: Run) -> str:
    """Return one line of progress, for ``--plain``."""
    parts = []
    for name, fleet in run.fleets.items():
        sums = fleet.tally.total()
        parts.append(
            f"{name}: {sums.calls} calls, {sums.failed} failed, {sums.broken} broken,"
            f" {sum(fleet.in_flight.values())} in flight,"
            f" p50 {seconds(sums.p50_s)}, p99 {seconds(sums.p99_s)}"
        )
    return f"{run.elapsed_s:5.1f} s  " + " | ".join(parts)


def seconds(value: float | None) -> str:
    """Return seconds in three digits; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _state(known: Known | None, dead: bool) -> Text:
    if dead:
        return Text("KILLED", DEAD)
    if known is None:
        return Text("-", "dim")
    return Text(known.state, "green" if known.state == "active" else "yellow")


def _curve(known: Known | None) -> str:
    if known is None or known.base_s is None or known.slope_s is None:
        return "-"
    return f"{known.base_s:.1f} + {known.slope_s:.2f} q"


def _share(sums: Figures, total: int) -> str:
    return f"{sums.calls / total:.0%}" if total else "-"


def _in_flight(count: int | None, most: int, width: int, style: str) -> Text:
    if count is None:
        return Text("  -", "dim")
    cells = round(width * min(count, most) / most)
    return Text.assemble(f"{count:3d} ", ("\N{FULL BLOCK}" * cells, style))


def _bad(count: int) -> Text:
    return Text(str(count), DEAD if count else "green")
