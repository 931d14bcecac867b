"""Tables of the scaling act: the nodes, what happened, what became of the calls, what it cost."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from examples.demo.scaling.chart import DRAIN, SERVING, START
from examples.demo.scaling.profile import MOST_NODES, SLOTS
from examples.demo.scaling.state import Act
from examples.demo.scaling.story import DRAINING, LOST, READY, STARTING, STOPPING, Node
from examples.demo.screen import DEAD, seconds

STYLES = {
    STARTING: START,
    READY: "green",
    DRAINING: DRAIN,
    STOPPING: DRAIN,
    LOST: DEAD,
}
NODES_SHOWN = MOST_NODES + 2
BAR_WIDTH = 12
WIDE = 92
"""Columns from which all sums fit."""


def nodes(act: Act) -> Table:
    """Return one row a node; lost ones until others need the room."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("node", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("in flight", no_wrap=True)
    table.add_column("calls", justify="right", no_wrap=True)
    order = {replica_id: i for i, replica_id in enumerate(act.story.names)}
    live = [n for n in act.nodes if n.state != LOST]
    lost = [n for n in act.nodes if n.state == LOST]
    room = max(0, min(2, NODES_SHOWN - len(live)))
    shown = sorted([*live, *lost[len(lost) - room :]], key=lambda n: order.get(n.replica_id, 0))
    for node in shown[-NODES_SHOWN:]:
        calls = act.calls_of.get(node.replica_id, 0)
        table.add_row(
            Text(act.story.names.get(node.replica_id, "-"), "bold"),
            Text(_state(act, node), STYLES.get(node.state, "")),
            _in_flight(node),
            str(calls),
        )
    for _ in range(NODES_SHOWN - len(shown)):
        table.add_row("", "", "", "")
    return table


def events(act: Act, count: int) -> Text:
    """Return the last events, a line each."""
    lines = [f"{at:6.1f} s  {text}" for at, text in list(act.events.values())[-count:]]
    return Text("\n".join(lines), "yellow", no_wrap=True, overflow="ellipsis")


def totals(act: Act, width: int) -> Table:
    """Return what became of the calls, and what the nodes cost."""
    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, header_style="dim")
    sums, static, saving = act.sums, act.static_node_seconds, act.saving
    columns: list[tuple[str, str | Text]] = [
        ("\ncalls", str(sums.calls)),
        ("\nfailed", _bad(sums.failed)),
        ("broken\nstreams", _bad(sums.broken)),
        ("taken up\nagain", str(sums.moved)),
        ("first token\np50 s", seconds(sums.first_p50_s)),
        ("\np99 s", seconds(sums.first_p99_s)),
        ("whole call\np50 s", seconds(sums.p50_s)),
        ("\np99 s", seconds(sums.p99_s)),
        ("node-\nseconds", f"{act.node_seconds:.0f}"),
        ("static\nfleet", "-" if static is None else f"{static:.0f}"),
        ("\nsaved", Text("-" if saving is None else f"{saving:.0%}", f"bold {SERVING}")),
    ]
    if width < WIDE:
        del columns[3:6]
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*(value for _, value in columns))
    return table


def _state(act: Act, node: Node) -> str:
    if node.state == LOST:
        return "KILLED" if act.story.was_killed(node.replica_id) else "lost"
    return node.state


def _in_flight(node: Node) -> Text:
    if node.in_flight is None or node.state == LOST:
        return Text("  -", "dim")
    cells = round(BAR_WIDTH * min(1.0, node.in_flight / SLOTS))
    return Text.assemble(f"{node.in_flight:3.0f} ", ("\N{FULL BLOCK}" * cells, SERVING))


def _bad(count: int) -> Text:
    return Text(str(count), DEAD if count else "green")
