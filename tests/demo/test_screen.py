"""The demo's screen: drawn at any width, with nothing known yet and with a node killed."""

import io

import pytest
from rich.console import Console

from examples.demo import screen
from examples.demo.options import parse
from examples.demo.show import Plain
from examples.demo.state import Known, Run
from examples.demo.tally import Ended


def new_run():
    options = parse(["--seconds", "10", "--nodes", "1,0.25"])
    return Run(options, ("node-1", "node-2"), "some load", planned=9)


def halfway():
    run = new_run()
    run.elapsed_s, run.killed = 6.0, "node-1"
    run.known = {
        "node-1": Known("unhealthy", "refused"),
        "node-2": Known("active", "", 0.4, 0.5, 0.02),
    }
    run.events = {f"{i}": (float(i), f"event {i}") for i in range(9)}
    for balancer, took in (("meshlb", 1.5), ("round_robin", 6.0)):
        fleet = run.fleets[balancer]
        fleet.in_flight = {"node-2": 40}
        fleet.tally.add(Ended("node-2", generate=True, first_s=0.25, total_s=took))
    run.fleets["round_robin"].tally.add(
        Ended("node-1", generate=True, first_s=0.1, total_s=0.2, code="UNAVAILABLE")
    )
    return run


def drawn(what, width):
    console = Console(width=width, file=io.StringIO())
    console.print(what)
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    return text


@pytest.mark.parametrize("width", [80, 100, 124, 200])
@pytest.mark.parametrize("run", [new_run(), halfway()], ids=["new", "halfway"])
def test_every_node_and_both_fleets_are_there(run, width):
    for text in (
        drawn(screen.frame(run, width), width),
        drawn(screen.summary(run, width), width),
    ):
        for word in ("node-1", "node-2", "meshlb", "round_robin", "emulated"):
            assert word in text


def test_what_happened_is_told():
    text = drawn(screen.frame(halfway(), 124), 124)
    for word in ("KILLED", "active", "0.5 + 0.02 q", "0.40", "4.0x", "event 8"):
        assert word in text
    assert "event 2" not in text


def test_plain_lines_tell_each_event_once():
    lines = []
    show, run = Plain(lines.append, screen.line), halfway()
    show(run)
    show(run)
    run.over = True
    show(run)
    assert sum("event 8" in line for line in lines) == 1
    assert sum(line.startswith("  6.0 s  meshlb: 1 calls, 0 failed") for line in lines) == 2
