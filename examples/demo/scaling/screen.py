"""Pictures of the scaling act, for a terminal: plain functions from ``Act`` to what rich draws."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.demo.scaling.chart import DRAIN, chart, legend
from examples.demo.scaling.profile import MOST_NODES, NODE_TARGET
from examples.demo.scaling.state import Act
from examples.demo.scaling.story import DRAINING, READY, STARTING, STOPPING
from examples.demo.scaling.tables import NODES_SHOWN, events, nodes, totals
from examples.demo.screen import DEAD, OURS, seconds

LABEL, REASON_LINES = 7, 2
TALL = 40
"""Lines from which each node has a line of the chart."""
_WRAPPER = Console(file=io.StringIO())


def frame(act: Act, width: int, height: int) -> RenderableType:
    """Return the whole screen, for a terminal of so many columns and lines."""
    inner = width - 4
    title = Text.assemble(
        (" meshlb ", f"bold #101010 on {OURS}"),
        "  a fleet that scales with its load: real processes, emulated engines\n",
        (f"          1 to {MOST_NODES} nodes, {NODE_TARGET} calls in flight to a node", "dim"),
    )
    lines = MOST_NODES if height >= TALL else MOST_NODES // 2
    return Panel(
        Group(
            title,
            Text(),
            now(act),
            why(act, inner),
            chart(act.history, act.options.seconds, inner, lines, MOST_NODES),
            legend(),
            Text(),
            _halves(nodes(act), events(act, NODES_SHOWN + 1)),
            Text(),
            totals(act, inner),
            Text(),
            _progress(act),
        ),
        border_style="dim",
        padding=(0, 1),
    )


def now(act: Act) -> Text:
    """Return target, nodes by state, and the load."""
    in_flight = "-" if act.in_flight is None else f"{act.in_flight:.0f}"
    return Text.assemble(
        ("target ", "dim"),
        (f"{'-' if act.target is None else act.target}", "bold"),
        ("   ready ", "dim"),
        (str(act.count(READY)), "bold green"),
        ("   starting ", "dim"),
        (str(act.count(STARTING)), "bold"),
        ("   draining ", "dim"),
        (str(act.count(DRAINING, STOPPING)), f"bold {DRAIN}"),
        ("      load ", "dim"),
        (f"{act.profile.rate(act.elapsed_s):.1f}", "bold"),
        (" calls/s, ", "dim"),
        (in_flight, "bold"),
        (" in flight", "dim"),
    )


def why(act: Act, width: int) -> Text:
    """Return the decision's sentence now, and that of the last change of the target."""
    parts = [("now", act.reason or "-", "")]
    at, sentence = act.changed or (0.0, "-")
    if sentence == act.reason:
        sentence = ""  # it is there already
    parts.append((f"{at:.0f} s", sentence, "yellow"))
    text = Text()
    for label, words, style in parts:
        lines = Text(words, style).wrap(_WRAPPER, width - LABEL)[:REASON_LINES]
        for i in range(REASON_LINES):
            text.append(f"{label if i == 0 else '':<{LABEL}}", "dim")
            text.append_text(lines[i] if i < len(lines) else Text()).append("\n")
    text.append(act.problem[: width - 1], DEAD)
    return text


def summary(act: Act, width: int) -> RenderableType:
    """Return what is left on the terminal at the end."""
    sums, counts = act.sums, act.story.counts
    verdict = (
        Text("No call failed, no stream broke.", "bold green")
        if not sums.failed
        else Text(f"Calls failed: {sums.failed}, {sums.broken} of them in mid-stream.", DEAD)
    )
    kinds = ("ordered", "ready", "killed", "replaced", "withdrawn", "drained", "stopped")
    told = ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in kinds)
    turned = f"changed {times(len(act.reasons))}, turned round {times(act.reversals)}"
    ran = f"At most {act.most_nodes} ran at once."
    load = f"The load: {times(act.profile.turns)}."
    words = [f"Nodes: {told}.", f"{ran} The target {turned}. {load}"]
    if act.saving is not None:
        words.append(
            f"Node-seconds while calls came: {act.node_seconds:.0f}. A static fleet of"
            f" {act.static_nodes}, which the peak needs: {act.static_node_seconds:.0f}."
        )
    if sums.cut_off:
        words.append(f"{sums.cut_off} calls were still open at the end.")
    return Panel(
        Group(
            chart(act.history, act.options.seconds, width - 4, MOST_NODES, MOST_NODES),
            legend(),
            Text(),
            totals(act, width - 4),
            Text(),
            Text("\n".join(words)),
            verdict,
        ),
        title=f"{act.options.seconds:.0f} s of scaling, emulated engines (only a model's timing)",
        border_style="dim",
        padding=(1, 1),
    )


def line(act: Act) -> str:
    """Return one line of progress, for ``--plain``."""
    sums = act.tally.total()
    in_flight = "-" if act.in_flight is None else f"{act.in_flight:.0f}"
    return (
        f"{act.elapsed_s:5.1f} s  {act.profile.rate(act.elapsed_s):.1f} calls/s,"
        f" {in_flight} in flight | target {act.target}: {act.count(READY)} ready,"
        f" {act.count(STARTING)} starting, {act.count(DRAINING, STOPPING)} draining |"
        f" {sums.calls} calls, {sums.failed} failed, {sums.broken} broken,"
        f" {sums.moved} resumed, p99 {seconds(sums.p99_s)}"
    )


def times(count: int) -> str:
    """Return how often, in words."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _halves(left: RenderableType, right: RenderableType) -> Table:
    both = Table.grid(expand=True, padding=(0, 2))
    both.add_column(ratio=1)
    both.add_column(ratio=1)
    both.add_row(left, right)
    return both


def _progress(act: Act) -> Table:
    progress = Table.grid(expand=True, padding=(0, 1))
    progress.add_column(ratio=1)
    progress.add_column(justify="right")
    share = min(1.0, act.elapsed_s / act.options.seconds)
    progress.add_row(
        ProgressBar(total=1.0, completed=share, complete_style=OURS, finished_style=OURS),
        f"{act.elapsed_s:4.0f} of {act.options.seconds:.0f} s   "
        f"{len(act.tally.calls)} of {act.planned} calls",
    )
    return progress
