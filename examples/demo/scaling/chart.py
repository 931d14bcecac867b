"""The act over time, as characters: one column a moment, one line a node."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from examples.demo.scaling.state import Moment

SERVING, DRAIN, START, DEMAND, WANTED = "#22b8cf", "#fab005", "#1b6b77", "#f06595", "white"
FULL, LIGHT, LINE = "\N{FULL BLOCK}", "\N{MEDIUM SHADE}", "\N{BLACK CIRCLE}"
MARGIN = 3
"""Columns of the axis."""


def chart(history: Sequence[Moment], seconds: float, width: int, height: int, most: int) -> Text:
    """Return it, ``height`` lines for ``most`` nodes, and the axis below."""
    columns = buckets(history, seconds, width - MARGIN)
    text = Text(no_wrap=True)
    for line in reversed(range(height)):
        low, high = line * most / height, (line + 1) * most / height
        text.append(f"{high:2.0f} ", "dim")
        for moment in columns:
            text.append(*_cell(moment, low, high, most))
        text.append("\n")
    return text.append_text(axis(seconds, width))


def buckets(history: Sequence[Moment], seconds: float, count: int) -> list[Moment | None]:
    """Return the last moment of each of ``count`` equal times; none in it: the one before."""
    columns: list[Moment | None] = [None] * count
    for moment in history:
        columns[min(count - 1, int(count * moment.at_s / seconds))] = moment
    newest = max((i for i, moment in enumerate(columns) if moment is not None), default=-1)
    for i in range(1, newest + 1):
        columns[i] = columns[i] or columns[i - 1]
    return columns


def axis(seconds: float, width: int) -> Text:
    """Return the line with the times."""
    room = width - MARGIN
    line = [" "] * room
    for part in range(5):
        label = f"{seconds * part / 4:.0f} s"
        at = min(room - len(label), round(room * part / 4))
        line[at : at + len(label)] = label
    return Text(" " * MARGIN + "".join(line), "dim")


def legend() -> Text:
    """Return what the colours mean."""
    return Text.assemble(
        (FULL, SERVING),
        " serving  ",
        (LIGHT, START),
        " starting  ",
        (LIGHT, DRAIN),
        " draining  ",
        (LINE, DEMAND),
        " demand: calls in flight, in nodes' worth",
    )


def _cell(moment: Moment | None, low: float, high: float, most: int) -> tuple[str, str]:
    if moment is None:
        return " ", ""
    middle = (low + high) / 2
    ready = moment.ready
    draining, starting = ready + moment.draining, ready + moment.draining + moment.starting
    back = char = ""
    if middle < ready:
        char, back = FULL, SERVING
    elif middle < draining:
        char, back = LIGHT, DRAIN
    elif middle < starting:
        char, back = LIGHT, START
    if moment.demand is not None and low <= min(moment.demand, most - 1e-6) < high:
        return LINE, f"{DEMAND} on {back}" if char == FULL else DEMAND
    return (char, back) if char else (" ", "")
