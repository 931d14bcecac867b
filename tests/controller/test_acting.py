"""An actuator at work, and what does not happen when it fails, hangs or is late."""

import asyncio
import contextlib
import math
import time

import pytest

from meshlb.actuators import Capabilities
from meshlb.controller import acting as module
from meshlb.controller.acting import Acting, Hands
from meshlb.controller.intent import Intent, Learned
from meshlb.controller.nodes_view import node_views
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.errors import UnavailableError
from meshlb.model import LoadReport, NodeInfo, NodeState
from meshlb.policy.fleet import Fleet
from meshlb.scale_model import Manual, Mode, Replica, ReplicaState, ScalePolicy
from meshlb.settings import Settings


class Actuator:
    """Keeps what it is told; starts at once, fails or hangs as the test says."""

    capabilities = Capabilities(starts=True, chooses_victim=True, resizes=True)

    def __init__(self):
        self.running = {}
        self.orders = []
        self.resized = []
        self.calls = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def _called(self, name):
        self.calls.append(name)
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def start(self):
        await self._called("start")

    async def observe(self):
        await self._called("observe")
        return list(self.running.values())

    async def apply(self, order):
        await self._called("apply")
        self.orders.append(order)
        for replica_id in order.stop:
            del self.running[replica_id]
        for _ in range(order.start):
            self.add(f"r{len(self.running)}-{len(self.orders)}")

    async def resize(self, replica_id, slots, cpu_cores, memory_bytes):
        self.resized.append((replica_id, cpu_cores))
        return True

    async def close(self):
        self.closed = True

    def add(self, replica_id, state=ReplicaState.READY):
        self.running[replica_id] = Replica(replica_id, replica_id, state, time.time())


class World:
    """One service, its fleet and its actuator, in one loop."""

    def __init__(self, mode=Mode.ACTIVE, target=2):
        self.fleet = Fleet(Settings(), "c", 1, time.monotonic())
        self.record = self.fleet.service("s")
        policy = ScalePolicy("s", mode=mode, min=0, max=9)
        intent = Intent(manual=Manual(count=target))
        self.scaling = ServiceScaling(
            "s", policy, "fake", intent, Learned(), time.monotonic() - 1000
        )
        self.actuator = Actuator()
        self.withdrawn = {}
        self.silent = set()
        """Replicas whose sidecars do not report."""
        self.meanwhile = lambda: None
        """What happens while an order to withdraw a node is written."""

        async def withdraw(service, node_id, reason):
            self.withdrawn[node_id] = reason
            self.fleet.drain(service, node_id, reason)
            self.meanwhile()

        async def restore(service, node_id):
            self.withdrawn.pop(node_id, None)
            self.fleet.undrain(service, node_id)

        hands = Hands(withdraw, restore, lambda _: {}, lambda _: self.withdrawn)
        self.acting = Acting(self.scaling, self.record, self.actuator, hands)

    def tick(self):
        """Report for all that runs, and decide."""
        now = time.monotonic()
        for at, replica in enumerate(self.actuator.running.values()):
            if replica.state is ReplicaState.READY and replica.replica_id not in self.silent:
                info = NodeInfo("s", replica.node_id, 1, f"127.0.0.1:{at + 1}")
                self.fleet.observe_report(LoadReport(info, in_flight=0), self, now, time.time())
        self.fleet.decide(now)
        self.scaling.decide(self.record, now, time.time())

    def want(self, count):
        self.scaling.take_intent(Intent(manual=Manual(count=count)))
        self.tick()
        self.acting.wake()

    def call_again(self, node_id):
        """Do as an operator who ends a drain."""
        self.withdrawn.pop(node_id)
        self.fleet.undrain("s", node_id)

    async def rounds(self):
        """Wait until some rounds have begun from now on."""
        before = self.actuator.calls.count("observe")
        await self.until(lambda: self.actuator.calls.count("observe") > before + 5)

    async def until(self, check):
        async with asyncio.timeout(20):
            while not check():
                self.tick()
                await asyncio.sleep(0.01)


def acts(test, **how):
    """Run a test beside the acting task."""

    async def run():
        world = World(**how)
        task = asyncio.create_task(world.acting.run())
        try:
            await test(world)
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PERIOD_S", 0.05)
    monkeypatch.setattr(module, "BUSY_PERIOD_S", 0.02)
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(module, "LAST_DELAY_S", 0.1)
    monkeypatch.setattr(module, "SLOW_S", 0.1)


def test_replicas_come_to_the_target_and_leave_once_they_are_drained():
    async def test(world):
        await world.until(lambda: len(world.record.nodes) == 2)
        world.want(1)
        await world.until(lambda: len(world.actuator.running) == 1)
        assert [len(order.stop) for order in world.actuator.orders if order.stop] == [1]
        gone = next(o for o in world.actuator.orders if o.stop)
        assert gone.withdrawn in ([gone.stop[0]], list(gone.stop))

    acts(test)


def test_nothing_is_started_before_what_ran_is_found_again():
    async def test(world):
        world.actuator.gate.clear()
        world.actuator.add("r0")
        world.actuator.add("r1")
        for _ in range(20):
            world.tick()
            world.acting.wake()
            await asyncio.sleep(0.01)
        assert world.actuator.calls == ["start"]
        world.actuator.gate.set()
        await world.until(lambda: len(world.scaling.replicas) == 2)
        assert sum(order.start for order in world.actuator.orders) == 0

    acts(test)


def test_a_withdrawn_node_takes_calls_again_when_load_returns():
    async def test(world):
        await world.until(lambda: len(world.record.nodes) == 2)
        client = world.record.client("c", time.monotonic())
        client.watchers = 1  # it never applies a table, so that nothing drains
        client.report_at = time.monotonic() + 1000
        world.want(1)
        await world.until(lambda: world.withdrawn)
        (node_id,) = world.withdrawn
        await world.until(lambda: world.record.states[node_id][0] is NodeState.DRAINING)
        await world.until(
            lambda: any(r.state is ReplicaState.DRAINING for r in world.scaling.replicas)
        )
        world.want(2)
        await world.until(lambda: not world.withdrawn)
        await world.until(lambda: world.record.states[node_id][0] is NodeState.ACTIVE)
        assert sum(order.start for order in world.actuator.orders) == 2
        assert not any(order.stop for order in world.actuator.orders)

    acts(test)


def test_clients_are_told_that_nodes_start_until_they_have_reported():
    async def test(world):
        await world.until(lambda: len(world.record.nodes) == 2)
        assert not world.record.table.starting
        world.silent.add("late")
        world.actuator.add("late", ReplicaState.STARTING)
        world.want(3)
        await world.until(lambda: world.record.table.starting)
        world.actuator.add("late")  # healthy, and its sidecar has not reported yet
        await world.rounds()
        assert world.record.table.starting
        reasons = {r.replica_id: r.reason for r in world.scaling.replicas}
        assert reasons["late"] == "no sidecar reports as late"
        assert set(reasons.values()) == {"", "no sidecar reports as late"}
        world.silent.clear()
        await world.until(lambda: not world.record.table.starting)
        assert len(world.record.table.nodes) == 3

    acts(test)


def test_observe_mode_gives_no_orders():
    async def test(world):
        await world.until(lambda: world.actuator.calls.count("observe") > 5)
        assert world.scaling.target == 2
        assert world.actuator.orders == []

    acts(test, mode=Mode.OBSERVE)


def test_one_that_fails_is_a_problem_that_is_told_and_ends():
    async def test(world):
        world.actuator.error = UnavailableError("the machine room is dark")
        await world.until(lambda: "machine room is dark" in world.scaling.problem)
        assert world.scaling.problem.startswith("actuator fake: the machine room is dark; tried")
        assert world.scaling.target == 2  # deciding goes on
        world.actuator.error = None
        await world.until(lambda: len(world.actuator.running) == 2)
        await world.until(lambda: not world.scaling.problem)

    acts(test)


def test_one_that_hangs_is_a_problem_that_is_told_and_holds_nothing_else_up():
    async def test(world):
        world.actuator.gate.clear()
        await world.until(lambda: "has not returned for" in world.scaling.problem)
        assert world.scaling.target == 2
        world.actuator.gate.set()
        await world.until(lambda: len(world.actuator.running) == 2)
        await world.until(lambda: not world.scaling.problem)

    acts(test)


def test_a_lost_replica_is_replaced():
    async def test(world):
        await world.until(lambda: len(world.record.nodes) == 2)
        lost = next(iter(world.actuator.running))
        world.actuator.add(lost, ReplicaState.LOST)
        await world.until(lambda: sum(order.start for order in world.actuator.orders) == 3)

    acts(test)


def test_cores_are_given_once_and_given_back_once_when_sizes_are_not_given_any_more():
    async def test(world):
        sizing = world.scaling.sizing
        sizing.look = lambda *_: None
        sizing.gives = True
        await world.until(lambda: len(world.record.nodes) == 2)
        first, second = world.actuator.running
        sizing.cores[first] = 1.5
        await world.rounds()
        assert world.actuator.resized == [(first, 1.5)]
        sizing.gives = False
        sizing.cores.clear()
        await world.rounds()
        assert world.actuator.resized[1:] == [(first, math.inf), (second, math.inf)]

    acts(test)


def test_cores_that_an_earlier_controller_gave_are_given_back_without_a_policy_that_acts():
    async def test(world):
        world.actuator.add("r0")
        await world.until(lambda: ("r0", math.inf) in world.actuator.resized)
        assert world.actuator.orders == []

    acts(test, mode=Mode.OBSERVE)


def test_a_drained_node_that_an_operator_gives_calls_again_is_not_stopped():
    async def test(world):
        await world.until(lambda: len(world.record.nodes) == 2)
        first, second = world.actuator.running
        world.actuator.gate.clear()  # the next round waits until all is as it is to be
        looks = world.actuator.calls.count("observe")
        await world.until(lambda: world.actuator.calls.count("observe") > looks)
        world.withdrawn[first] = "scale-in"
        world.fleet.drain("s", first, "scale-in")
        await world.until(
            lambda: node_views(world.record, {}, time.monotonic(), 0.0)[first].drained
        )
        world.meanwhile = lambda: world.call_again(first)
        world.want(0)
        world.actuator.gate.set()
        await world.until(lambda: world.actuator.orders[-1].target == 0)
        order = next(o for o in world.actuator.orders if o.target == 0)
        world.meanwhile = lambda: None
        assert second in order.withdrawn
        assert order.stop == ()

    acts(test)
