"""What the controller's records say of a withdrawn node, when somebody is silent."""

import pytest

from meshlb.controller.nodes_view import drain_state
from meshlb.model import CallReport, LoadReport, NodeCalls, NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.settings import ControllerSettings, Settings


class World:
    """One node and one client that called it, under a controller that has listened for long."""

    def __init__(self, **told):
        self.now, self.sequence = 0.0, 0
        self.fleet = Fleet(Settings(), "c", 1, self.now)
        self.told = told
        self.record = self.fleet.service("s")
        self.fleet.subscribe("s", "client", self.now)
        self.calls = 0
        self.run(10)

    def run(self, seconds, node=True, client=True, step=0.1):
        for _ in range(round(seconds / step)):
            self.now += step
            if node:
                info = NodeInfo("s", "n", 1, "127.0.0.1:1")
                report = LoadReport(info, **self.told)
                self.fleet.observe_report(report, self, self.now, 0.0)
            if client:
                self.sequence += 1
                table = self.record.table
                applied = None if table is None else (table.epoch, table.version)
                calls = (NodeCalls("n", self.calls, 10, 9, 0, 0, 1.0),)
                self.fleet.observe_calls(
                    CallReport("s", "client", self.sequence, calls, 0, applied), self.now
                )
            self.fleet.decide(self.now)

    def drain(self):
        self.fleet.drain("s", "n", "test")
        self.run(0.2)

    @property
    def waiting_for(self):
        return drain_state(self.record, "n", self.now).waiting_for


@pytest.mark.parametrize(
    ("told", "waiting_for"),
    [
        ({"in_flight": 2}, "2 calls in flight"),
        ({"connections": 1}, "1 connection of clients to close"),
        ({}, "its sidecar to tell of connections"),
    ],
)
def test_a_sidecar_that_falls_silent_is_not_a_server_that_falls_idle(told, waiting_for):
    world = World(**told)
    world.drain()
    assert world.waiting_for == waiting_for
    world.run(5, node=False)
    assert world.waiting_for == waiting_for


def test_of_a_sidecar_that_is_gone_nothing_is_expected_after_a_while():
    world = World(connections=1)
    world.drain()
    world.fleet.stream_lost("s", "n", world)
    world.run(9, node=False)
    assert world.waiting_for
    world.run(2, node=False)
    assert not world.waiting_for


def test_a_node_that_a_new_controller_has_not_heard_of_yet_is_not_one_that_is_gone():
    """Its sidecar may take longer to come again than the controller's grace."""
    fleet = Fleet(Settings(ControllerSettings(grace_s=1)), "c", 1, 100.0)
    record = fleet.service("s")
    fleet.drain("s", "n", "test")
    for now in (101.0, 102.0, 105.0):
        fleet.decide(now)
        assert drain_state(record, "n", now).waiting_for == "its sidecar to report"
    fleet.decide(111.0)
    assert drain_state(record, "n", 111.0).drained


def test_a_node_forgotten_for_its_silence_is_not_drained_while_it_is_called():
    world = World()
    world.calls = 1
    world.drain()
    world.fleet.stream_lost("s", "n", world)
    world.run(100, node=False)
    assert "n" not in world.record.nodes
    assert world.waiting_for == "1 call in flight"
    world.calls = 0
    world.run(0.1, node=False)
    assert not world.waiting_for


def test_a_controller_that_was_held_up_takes_nobody_for_silent():
    world = World(in_flight=0)
    world.drain()
    assert not world.waiting_for
    world.now += 20
    world.run(0.1, client=False)
    assert world.waiting_for == "clients to tell of their calls: the controller was held up"
    world.run(4)
    assert world.waiting_for
    world.run(2)
    assert not world.waiting_for


def test_a_client_that_is_told_to_report_seldom_is_not_taken_to_be_gone():
    controller = ControllerSettings(shares_per_s=1.0)
    fleet = Fleet(Settings(controller=controller), "c", 1, 0.0)
    for number in range(10):
        fleet.subscribe("s", f"client {number}", 0.0)
    info = NodeInfo("s", "n", 1, "127.0.0.1:1")
    fleet.observe_report(LoadReport(info), fleet, 10.0, 0.0)
    assert fleet.decide(10.0).share_interval_s == 10.0
    table = fleet.service("s").table
    for number in range(10):
        calls = (NodeCalls("n", int(number == 3), 1, 0, 0, 0, 1.0),)
        applied = table.epoch, table.version
        fleet.observe_calls(CallReport("s", f"client {number}", 1, calls, 0, applied), 10.0)
    fleet.drain("s", "n", "test")
    fleet.decide(10.1)
    fleet.decide(18.0)
    assert drain_state(fleet.service("s"), "n", 18.0).waiting_for.startswith("10 clients of 10")
