"""An actuator at work, and what does not happen when it fails, hangs or is late."""

import asyncio
import math
import time

import pytest

from meshlb.controller import acting as module
from meshlb.controller.nodes_view import node_views
from meshlb.errors import UnavailableError
from meshlb.model import NodeState
from meshlb.scale_model import Mode, ReplicaState
from tests.controller.acting_world import acts


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
