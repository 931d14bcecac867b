"""Replay requests against a fleet that an autoscaler sizes, in virtual time; seeded."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from meshlb import plugins
from meshlb.model import DEFAULT_PICKER
from meshlb.settings import PICKERS
from meshlb.sim.scale.autoscaler import Autoscaler, Chooser, Seen
from meshlb.sim.scale.clients import INTERVAL_S, Client
from meshlb.sim.scale.engine import Call, EngineParams
from meshlb.sim.scale.fleet import Fleet, Life, Node
from meshlb.sim.scale.outcome import Moment, Outcome
from meshlb.sim.scale.tables import Tables
from meshlb.sim.scale.trace import Request

LEARN_S = 1.0
"""Between two looks at the nodes' speeds."""
MOMENT_S = 5.0
_ENGINE, _READY, _DECIDE, _LEARN, _DRAIN = range(5)


@dataclass(frozen=True, slots=True)
class World:
    """All that is the same for every autoscaler that is compared."""

    requests: Sequence[Request]
    engine: EngineParams = field(default_factory=EngineParams)
    start_up_s: float = 155.0
    initial: int = 1
    """Replicas that are ready at the start."""
    clients: int = 4
    picker: str = DEFAULT_PICKER
    picker_params: Any = None
    objective: float = 5.0
    """A call is in time if it takes at most so many times ..."""
    own: bool = False
    """... what it would alone on a server; False: what calls of the trace would in the mean."""
    seed: int = 1

    @property
    def end_s(self) -> float:
        """The last arrival: bills end here, calls in flight run to their end."""
        return self.requests[-1].arrival_s

    def limits_s(self) -> list[float]:
        """Return the time within which each call is in time."""
        engine = self.engine
        alone = [engine.unloaded_s(one.prompt_tokens, one.tokens) for one in self.requests]
        if self.own:
            return [self.objective * one for one in alone]
        return [self.objective * sum(alone) / len(alone)] * len(alone)


def simulate(
    world: World, autoscaler: Autoscaler, progress: Callable[[float], None] | None = None
) -> Outcome:
    """Run to the end; ``progress`` is told the part of the trace that is done.

    Equal arguments give equal results.
    """
    return _Simulation(world, autoscaler).run(progress)


class _Simulation:
    def __init__(self, world: World, autoscaler: Autoscaler) -> None:
        self.world = world
        self.autoscaler = autoscaler
        self.fleet = Fleet(world.engine)
        self.rng = random.Random(world.seed)
        module = plugins.load(PICKERS, world.picker)
        params = module.Params() if world.picker_params is None else world.picker_params
        self.clients = [
            Client(module, params, random.Random(world.seed + 7919 * (i + 1)), world.clients)
            for i in range(world.clients)
        ]
        self.events: list[tuple[float, int, int, Node | None]] = []
        self.sequence = 0
        self.now = 0.0
        self.tables = Tables(self.fleet)
        self.waiting: deque[Call] = deque()
        self.flight = 0
        """Calls at ready nodes, and waiting for one."""
        self.flight_s = 0.0
        self.flight_at = 0.0
        self.begun = 0
        self.target = world.initial
        self.calls: list[Call] = []
        self.outcome = Outcome(autoscaler.name, world.end_s, self.calls)

    def run(self, progress: Callable[[float], None] | None) -> Outcome:
        world, events = self.world, self.events
        for _ in range(world.initial):
            self.fleet.order(0.0, ready=True)
        self.autoscaler.start(world.initial)
        self.outcome.targets.append((0.0, world.initial))
        self.at(self.autoscaler.interval_s, _DECIDE, None)
        self.at(LEARN_S, _LEARN, None)
        told = 0.0
        for request, limit_s in zip(world.requests, world.limits_s(), strict=True):
            while events and events[0][0] <= request.arrival_s:
                self.step(*heapq.heappop(events))
            self.now = request.arrival_s
            if progress is not None and self.now - told > 0.01 * world.end_s:
                told = self.now
                progress(told / world.end_s)
            call = Call(self.now, request.prompt_tokens, request.tokens, limit_s)
            call.client = int(self.rng.random() * len(self.clients))
            self.calls.append(call)
            self.begun += 1
            self.fly(1)
            self.send(call)
        while events:
            self.step(*heapq.heappop(events))
        if progress is not None:
            progress(1.0)
        self.outcome.node_seconds = sum(n.billed_s(world.end_s) for n in self.fleet.nodes)
        return self.outcome

    def at(self, instant: float, kind: int, node: Node | None) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (instant, self.sequence, kind, node))

    def step(self, instant: float, _: int, kind: int, node: Node | None) -> None:
        self.now = instant
        if node is not None:
            if kind == _ENGINE:
                self.advance(node)
            elif kind == _READY:
                self.become_ready(node)
            else:
                self.drain(node)
        elif instant <= self.world.end_s:
            if kind == _DECIDE:
                self.decide()
            else:
                self.learn()

    # --- calls -----------------------------------------------------------------------------

    def fly(self, by: int) -> None:
        """Add to the calls at ready nodes, which are integrated over time."""
        self.flight_s += self.flight * (self.now - self.flight_at)
        self.flight_at = self.now
        self.flight += by

    def send(self, call: Call) -> None:
        """Let the call's client pick a node, or let it wait."""
        now = self.now
        tables = self.tables
        if tables.stale:
            tables.publish(now)
        if not tables.ready:
            self.waiting.append(call)
            return
        client = self.clients[call.client]
        node = client.pick(tables.ready, tables.table, tables.version, now, self.flight)
        node.change(1, now, int(now / INTERVAL_S))
        client.change(node.number, 1, now)
        if node.engine.add(call, now):
            ends = node.engine.ends
            assert ends is not None
            self.at(ends, _ENGINE, node)

    def advance(self, node: Node) -> None:
        if node.engine.ends != self.now or node.life is Life.GONE:
            return  # overtaken: the engine made another appointment since
        now = self.now
        for call in node.engine.advance():
            node.change(-1, now, int(now / INTERVAL_S))
            node.ended += 1
            self.clients[call.client].change(node.number, -1, now)
            if node.life is Life.READY:
                self.fly(-1)
        if node.engine.ends is not None:
            self.at(node.engine.ends, _ENGINE, node)
        if node.life is Life.DRAINING and not node.in_flight:
            self.drain(node)

    # --- replicas --------------------------------------------------------------------------

    def become_ready(self, node: Node) -> None:
        if node.life is not Life.STARTING:
            return
        self.fleet.make_ready(node, self.now)
        waiting, self.waiting = self.waiting, deque()
        for call in waiting:
            self.send(call)

    def drain(self, node: Node) -> None:
        """Stop a draining node if it may be, and kill it if it must."""
        if node.life is not Life.DRAINING or node.drain_since is None:
            return
        grace = self.autoscaler.grace
        since = self.now - node.drain_since
        overdue = grace.limit_s is not None and since >= grace.limit_s - 1e-9
        if overdue:
            for call in node.engine.calls():
                self.outcome.broken += 1
                self.clients[call.client].change(node.number, -1, self.now)
            node.in_flight = 0
        if overdue or (not node.in_flight and since >= grace.least_s - 1e-9):
            self.fleet.stop(node, self.now)

    def withdraw(self, node: Node) -> None:
        """Begin to take a replica away; one that is starting goes at once."""
        if node.life is Life.STARTING:
            self.fleet.stop(node, self.now)
            return
        self.fly(-node.in_flight)
        self.fleet.withdraw(node, self.now)
        grace = self.autoscaler.grace
        if grace.least_s:
            self.at(self.now + grace.least_s, _DRAIN, node)
        if grace.limit_s is not None:
            self.at(self.now + grace.limit_s, _DRAIN, node)
        self.drain(node)

    def decide(self) -> None:
        self.at(self.now + self.autoscaler.interval_s, _DECIDE, None)
        target = self.autoscaler.target(self.seen(), self.now)
        if target != self.target:
            self.target = target
            self.outcome.targets.append((self.now, target))
        if hasattr(self.autoscaler, "choose"):
            chooser = cast("Chooser", self.autoscaler)
            start, withdraw, restore = chooser.choose(self.fleet, target, self.now)
        else:
            start, withdraw, restore = _newest_first(self.fleet, target)
        for number in restore:
            self.fly(self.fleet.nodes[number].in_flight)
            self.fleet.restore(self.fleet.nodes[number])
        for number in withdraw:
            self.withdraw(self.fleet.nodes[number])
        for _ in range(start):
            node = self.fleet.order(self.now)
            self.at(self.now + self.world.start_up_s, _READY, node)

    def seen(self) -> Seen:
        self.fly(0)
        fleet = self.fleet
        fleet.bury()
        ready, draining = list(fleet.live(Life.READY)), list(fleet.live(Life.DRAINING))
        queued = sum(node.engine.waiting for node in ready)
        return Seen(
            ready=len(ready),
            starting=len(list(fleet.live(Life.STARTING))),
            draining=len(draining),
            draining_in_flight=sum(node.in_flight for node in draining),
            target=self.target,
            in_flight=self.flight,
            spent_s=self.flight_s,
            begun=self.begun,
            queued=queued + len(self.waiting),
            waiting=len(self.waiting),
            start_up_s=self.world.start_up_s,
            curve=self.fleet.mean_curve(self.now, self.world.engine.slots),
        )

    def learn(self) -> None:
        """Let speeds be learned, and write down how things stand."""
        now = self.now
        self.at(now + LEARN_S, _LEARN, None)
        self.tables.learn(now, LEARN_S)
        if now // MOMENT_S != (now - LEARN_S) // MOMENT_S:
            self.outcome.moments.append(self.moment())

    def moment(self) -> Moment:
        lives = [node.life for node in self.fleet.alive]
        return Moment(
            self.now,
            self.target,
            lives.count(Life.READY),
            lives.count(Life.STARTING),
            lives.count(Life.DRAINING),
            self.flight,
        )


def _newest_first(fleet: Fleet, target: int) -> tuple[int, list[int], list[int]]:
    """Choose as a ReplicaSet does: those not ready first, then the newest."""
    starting = [node.number for node in fleet.live(Life.STARTING)]
    ready = [node.number for node in fleet.live(Life.READY)]
    excess = len(starting) + len(ready) - target
    if excess <= 0:
        return -excess, [], []
    return 0, [*reversed(starting), *reversed(ready)][:excess], []
