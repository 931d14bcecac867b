"""Sizes of nodes: recommended from use, and given so that a small one holds no calls up."""

import pytest

from meshlb.controller.intent import Intent, Learned
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.controller.sizing import Sizing
from meshlb.model import LoadReport, NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.policy.resizing import cores_to_give, slots_to_give
from meshlb.scale_model import Mode, ScalePolicy, Vertical
from meshlb.settings import Settings


@pytest.mark.parametrize(
    ("recommended", "given", "in_flight", "slots"),
    [
        (None, 16, 3, 16),  # too little is known: nothing shrinks
        (None, 16, 20, 23),  # but what is in use now is given
        (5, 16, 2, 5),
        (14, 16, 2, 16),  # not worth it
        (5, 5, 5, 6),  # full: it grows at once
        (5, 16, 20, 23),
        (5, 16, 10, 12),
        (0, 16, 0, 1),
    ],
)
def test_slots_shrink_by_use_over_time_and_grow_with_use_now(recommended, given, in_flight, slots):
    assert slots_to_give(recommended, given, in_flight) == slots


@pytest.mark.parametrize(
    ("recommended", "given", "in_use", "cores"),
    [
        (None, None, 3.0, None),
        (2.0, None, 1.0, 2.0),
        (2.0, None, 4.0, 4.6),
        (2.0, 4.0, 1.0, 2.0),
        (3.5, 4.0, 1.0, 4.0),
        (2.0, 2.0, 1.9, 3.0),
        (2.0, 2.0, None, 2.0),
    ],
)
def test_cores_shrink_by_use_over_time_and_grow_when_they_are_all_in_use(
    recommended, given, in_use, cores
):
    found = cores_to_give(recommended, given, in_use)
    assert found == (cores if cores is None else pytest.approx(cores))


class Service:
    """One node in virtual time, whose server takes the slots ordered."""

    def __init__(self, vertical):
        self.fleet = Fleet(Settings(), "c", 1, 0.0)
        self.sizing = Sizing()
        self.vertical = vertical
        self.now = 0.0
        self.slots = 16

    @property
    def node(self):
        return self.fleet.services["s"].nodes["a"]

    def run(self, seconds, in_flight):
        for _ in range(seconds):
            self.now += 1.0
            info = NodeInfo("s", "a", 1, "127.0.0.1:1", slots=self.slots)
            report = LoadReport(
                info, in_flight=in_flight, process_cpu_cores=0.5, process_memory_bytes=2**20
            )
            self.fleet.observe_report(report, self, self.now, 0.0)
            self.fleet.decide(self.now)
            self.sizing.look(self.fleet.services["s"], self.vertical, self.now)
            self.slots = self.node.slots_order or 16
        return {one.node_id: one for one in self.sizing.resources}


def test_what_nodes_should_have_is_recommended_and_nothing_is_changed():
    service = Service(Vertical.RECOMMEND)

    assert service.run(10, in_flight=4)["a"].slots is None
    found = service.run(600, in_flight=4)

    assert found["a"].slots == found[""].slots == 5
    assert found["a"].current_slots == 16
    assert found["a"].cpu_cores == pytest.approx(0.6)
    assert found["a"].memory_bytes == pytest.approx(2**20 * 1.15, rel=0.06)
    assert not found["a"].applied
    assert service.node.slots_order is None


def test_slots_are_given_grow_with_the_load_and_return_when_it_is_turned_off():
    service = Service(Vertical.APPLY)

    found = service.run(600, in_flight=4)
    assert service.slots == 5
    assert found["a"].applied
    assert service.node.limit == 5
    assert service.node.declared_slots == 16
    service.run(5, in_flight=20)
    assert service.slots >= 20
    service.vertical = Vertical.RECOMMEND
    found = service.run(1, in_flight=20)
    assert not found["a"].applied
    service.vertical = Vertical.APPLY
    service.run(5, in_flight=20)
    service.vertical = Vertical.OFF
    assert service.run(3, in_flight=4) == {}
    assert service.slots == 16
    assert service.node.limit is None


@pytest.mark.parametrize(
    ("mode", "vertical", "gives"),
    [
        (Mode.ACTIVE, Vertical.APPLY, True),
        (Mode.OBSERVE, Vertical.APPLY, False),
        (Mode.ACTIVE, Vertical.RECOMMEND, False),
    ],
)
def test_sizes_are_given_only_by_a_policy_that_acts_and_applies(mode, vertical, gives):
    fleet = Fleet(Settings(), "c", 1, 0.0)
    policy = ScalePolicy("s", mode=mode, vertical=vertical)
    scaling = ServiceScaling("s", policy, "", Intent(), Learned(), 0.0)
    fleet.decide(1.0)
    scaling.decide(fleet.service("s"), 1.0, 1.0)
    assert scaling.sizing.gives is gives
