"""A fleet that a test tells what happens, and when."""

from meshlb.model import (
    LoadReport,
    NodeInfo,
)
from meshlb.policy.fleet import Fleet
from meshlb.settings import ServiceSettings, Settings

START = 1000.0


def fleet(**of_service):
    return Fleet(Settings(default=ServiceSettings(**of_service)), "c", 1, START)


def report(node_id="a", incarnation=1, address=None, **figures):
    address = address or f"{node_id}:80"
    return LoadReport(NodeInfo("s", node_id, incarnation, address), **figures)


def states(made):
    return {key: state for key, (state, _) in made.services["s"].states.items()}


def observe(made, what, now, stream="stream of a", clock=None):
    return made.observe_report(
        what, stream, now, what.observe_time_s or 0.0 if clock is None else clock
    )
