"""What choosing a node costs with no call around it: each picker, and ``begin`` with ``end``.

Nodes have three speeds and changing counts, and the client holds a share, so that the default
picker goes its longest way.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe, verdict

from meshlb import plugins
from meshlb.client.node import LinkState, Node, Outcome
from meshlb.client.routes import Routes
from meshlb.client.view import PICKERS, View
from meshlb.model import DEFAULT_PICKER, LoadShare, SpeedCurve, Table, TableNode
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad

BASES_S = (0.04, 0.08, 0.16)
SLOTS = 4
SHARE = 1 / 16
REACH_US = 6.0
BOTH = "begin and end"


class ReadyLink:
    """A connection that is always there."""

    def __init__(self, routes: Routes, node: Node) -> None:
        self._routes = routes
        self._node = node

    def connect(self) -> None:
        """Be there."""
        self._routes.link_changed(self._node, self, LinkState.READY)

    def close(self) -> None:
        """Nothing to let go of."""

    close_soon = close


def table_nodes(count: int) -> tuple[TableNode, ...]:
    """Return so many nodes of three speeds."""
    return tuple(
        TableNode(
            f"node-{at}", 1, f"10.0.{at // 250}.{at % 250}:50051", slots=SLOTS,
            curve=SpeedCurve(BASES_S[at % 3], BASES_S[at % 3] / SLOTS, SLOTS),
        )
        for at in range(count)
    )  # fmt: skip


def picker_alone(name: str, count: int) -> Callable[[], Any]:
    """Return a picker's ``pick`` over ``count`` nodes, as a call without arguments."""
    rng = random.Random(1)
    client = ClientLoad()
    client.share, client.count_age_s, client.in_flight = SHARE, 0.1, 4
    candidates = []
    for node in table_nodes(count):
        load = NodeLoad()
        load.in_flight, load.others = rng.randint(0, 1), rng.uniform(0, 8)
        load.observe_response(rng.uniform(0.03, 0.3), True, 0.0)
        candidates.append(Candidate(node, load))
    module = plugins.load(PICKERS, name)
    pick = module.build(candidates, client, rng, module.Params()).pick
    return lambda: pick(1.0)


def begin_and_end(count: int) -> Callable[[], Any]:
    """Return all that the stub does about balancing in one call: pick, count in, count out."""
    routes = Routes("bench", "bench", ReadyLink, random.Random(1))
    nodes = table_nodes(count)
    routes.apply_table(Table("bench", "bench", 1, 1, complete=True, nodes=nodes))
    routes.apply_share(LoadShare(SHARE, {n.node_id: 3.0 for n in nodes}, 0, 1e9), 0.0)
    view = View(routes)
    for _ in range(count + 2):  # every link connects, and the picks settle
        view.refresh()
    clock = time.perf_counter
    end, begin, ok = routes.end, view.begin, Outcome.OK

    def once() -> None:
        now = clock()
        node = begin(now)
        assert node is not None
        end(node, 0.05, ok, now + 0.05)

    return once


def cost_us(call: Callable[[], Any], times: int) -> float:
    """Return microseconds of one call, the empty loop taken off."""
    clock = time.perf_counter
    loop = range(times)

    def nothing() -> None:
        pass

    def span(of: Callable[[], Any]) -> float:
        began = clock()
        for _ in loop:
            of()
        return clock() - began

    return max(0.0, span(call) - span(nothing)) / times * 1e6


def measure(sizes: list[int], runs: int, times: int) -> dict[str, dict[int, float]]:
    """Print and return microseconds by picker and number of nodes."""
    head = " ".join(f"{count:>8}" for count in sizes)
    print(f"\nchoosing a node, us, median of {runs} runs of {times}; nodes:\n{'':24} {head}")
    found: dict[str, dict[int, float]] = {}
    for name in (*sorted(plugins.names(PICKERS)), BOTH):
        made = [begin_and_end(n) if name == BOTH else picker_alone(name, n) for n in sizes]
        found[name] = {
            count: statistics.median(cost_us(call, times) for _ in range(runs))
            for count, call in zip(sizes, made, strict=True)
        }
        note = " (default)" if name == DEFAULT_PICKER else ""
        print(f"{name + note:24} " + " ".join(f"{us:8.2f}" for us in found[name].values()))
    if 64 in sizes:
        print(verdict("default pick, 64 nodes, us", found[DEFAULT_PICKER][64], REACH_US))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--times", type=int, default=20_000, help="calls a run")
    parser.add_argument("--nodes", type=int, nargs="+", default=[8, 64, 1000])
    parser.add_argument("--quick", action="store_true", help="a look; says little")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.times = 2, 500
    print(describe())
    found = measure(args.nodes, args.runs, args.times)
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "us": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
