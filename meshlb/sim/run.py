"""Run calls through simulated clients, nodes and a controller, in virtual time; seeded."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

from meshlb import plugins
from meshlb.sim.client import SimClient
from meshlb.sim.controller import SimController
from meshlb.sim.nodes import Appointment
from meshlb.sim.scenario import IDEAL, Result, Scenario

PICKERS = "meshlb.policy.pickers"
GOLDEN = 0.6180339887498949
"""Spreads the clients' reports over the interval."""


class _Call(NamedTuple):
    client: int
    began: float


def run(scenario: Scenario) -> Result:
    """Simulate; equal scenarios give equal results."""
    return _Simulation(scenario).run()


class _Simulation:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(scenario.seed)
        self.nodes = scenario.fleet()
        count = len(self.nodes)
        self.in_flight = [0] * count
        """The truth, by node."""
        self.counted_at = [0.0] * count
        """Up to when the controller has been told of it."""
        self.clients: list[SimClient] = []
        self.ideal = scenario.picker == IDEAL
        if not self.ideal:
            module = plugins.load(PICKERS, scenario.picker)
            params = module.Params() if scenario.params is None else scenario.params
            dice = random.Random(scenario.seed + 7919)  # apart, so that all see the same arrivals
            self.clients = [SimClient(module, params, count, dice) for _ in range(scenario.clients)]
        self.controller = SimController(scenario, self.nodes, self.clients)
        self.phases = [scenario.interval_s * (i * GOLDEN % 1.0) for i in range(scenario.clients)]
        self.calling = list(
            accumulate(1.0 / (i + 1) if scenario.unequal else 1.0 for i in range(scenario.clients))
        )
        self.published = (0, 0.0, [0] * count)
        """Counts that clients have: their number, when they were made, calls by node."""
        self.events: list[tuple[float, int, Callable[..., None], Any]] = []
        self.sequence = 0
        self.now = 0.0
        self.latencies_s: list[float] = []
        self.calls = [0] * count

    def run(self) -> Result:
        scenario = self.scenario
        end_s = scenario.warm_up_s + scenario.measured_s
        self.at(scenario.interval_s, self.publish, 1)
        self.at(scenario.table_s, self.look, None)
        for instant, change in scenario.changes.items():
            self.at(instant, change, self.nodes)
        self.at(self.rng.expovariate(scenario.rate), self.arrive, None)
        events = self.events
        while events[0][0] <= end_s:
            self.now, _, action, argument = heapq.heappop(events)
            action(argument)
        self.latencies_s.sort()
        return Result(
            latencies_s=tuple(self.latencies_s),
            calls=tuple(self.calls),
            left=sum(self.in_flight),
            curves=tuple(node.curve for node in self.controller.table),
        )

    def at(self, instant: float, action: Callable[..., None], argument: Any) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (instant, self.sequence, action, argument))

    # --- calls -----------------------------------------------------------------------------

    def arrive(self, _: None) -> None:
        now, rng = self.now, self.rng
        self.at(now + rng.expovariate(self.scenario.rate), self.arrive, None)
        number = rng.choices(range(len(self.calling)), cum_weights=self.calling)[0]
        node = self.shortest_delay() if self.ideal else self.pick(number)
        self.spend(node)
        self.in_flight[node] += 1
        if now > self.scenario.warm_up_s:
            self.calls[node] += 1
        self.expect(node, self.nodes[node].arrive(_Call(number, now), now, rng))

    def spend(self, node: int) -> None:
        """Tell the controller of the time that calls have spent at a node."""
        elapsed_s = self.now - self.counted_at[node]
        self.counted_at[node] = self.now
        self.controller.spent_s[node] += self.in_flight[node] * elapsed_s

    def shortest_delay(self) -> int:
        delays = [
            node.curve().latency_s(others)
            for node, others in zip(self.nodes, self.in_flight, strict=True)
        ]
        return delays.index(min(delays))

    def pick(self, number: int) -> int:
        client, controller = self.clients[number], self.controller
        client.note(self.report(number, self.now))
        count, made_at, totals = self.published
        if self.scenario.counts and client.applied != count:
            client.apply(
                count,
                self.report(number, made_at),
                totals,
                controller.share(client),
                self.scenario.interval_s,
                controller.table,
            )
        node = client.begin(controller.table, controller.version, self.now)
        self.at(self.report_at(number), self.begun, node)
        return node

    def expect(self, node: int, appointment: Appointment | None) -> None:
        if appointment is not None:
            self.at(appointment[0], self.leave, (node, appointment[1]))

    def leave(self, what: tuple[int, Any]) -> None:
        node, token = what
        call, following = self.nodes[node].leave(token, self.now)
        self.expect(node, following)
        if call is None:
            return
        self.spend(node)
        self.in_flight[node] -= 1
        self.controller.ended[node] += 1
        latency_s = self.now - call.began
        if call.began > self.scenario.warm_up_s:
            self.latencies_s.append(latency_s)
        if not self.ideal:
            client = self.clients[call.client]
            client.note(self.report(call.client, self.now))
            client.end(node, latency_s, self.now)
            self.at(self.report_at(call.client), self.done, node)

    # --- reports and the controller --------------------------------------------------------

    def report(self, number: int, instant: float) -> int:
        """Return the number of the client's last report before ``instant``."""
        return int((instant - self.phases[number]) / self.scenario.interval_s + 1.0) - 1

    def report_at(self, number: int) -> float:
        interval_s = self.scenario.interval_s
        return self.phases[number] + (self.report(number, self.now) + 1) * interval_s

    def begun(self, node: int) -> None:
        self.controller.in_flight[node] += 1

    def done(self, node: int) -> None:
        self.controller.in_flight[node] -= 1

    def publish(self, count: int) -> None:
        for node in range(len(self.nodes)):
            self.spend(node)
        totals = self.controller.count(self.now)
        self.at(self.now + self.scenario.delay_s, self.deliver, (count, self.now, totals))
        self.at(self.now + self.scenario.interval_s, self.publish, count + 1)

    def deliver(self, published: tuple[int, float, list[int]]) -> None:
        self.published = published

    def look(self, _: None) -> None:
        self.controller.look(self.now)
        self.at(self.now + self.scenario.table_s, self.look, None)
