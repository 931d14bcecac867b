"""After a restart nothing is taken away too early, and a full disk stops nothing that runs."""

import uuid

import grpc
import pytest

from meshlb import settings
from meshlb.controller.intent import Intent, Learned
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.errors import REASON_KEY
from meshlb.model import LoadReport, NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.scale_model import RuleSpec, ScalePolicy
from meshlb.settings import Settings
from meshlb.v1 import scale_pb2
from tests.waiting import until

POLICY = ScalePolicy(
    "s",
    rules=(RuleSpec("group", {"signal": "in_flight", "target": 4.0}),),
    scale_in_window_s=0.0,
    stable_window_s=10.0,
    start_limit_s=100.0,
)


class Restarted:
    """A service in virtual time, whose controller has just started again."""

    def __init__(self, learned):
        self.now = 0.0
        self.fleet = Fleet(Settings(), "c", 1, self.now)
        self.scaling = ServiceScaling("s", POLICY, "", Intent(), learned, self.now)

    def run(self, seconds, nodes):
        record = self.fleet.service("s")
        for _ in range(seconds * 10):
            self.now += 0.1
            for at in range(nodes):
                info = NodeInfo("s", f"n{at}", 1, f"127.0.0.1:{at + 1}")
                report = LoadReport(info, in_flight=0)
                self.fleet.observe_report(report, self, self.now, 0.0)
            self.fleet.decide(self.now)
            self.scaling.decide(record, self.now, 1e9 + self.now)
        return self.scaling.target


def test_the_target_is_held_for_a_window_and_until_most_of_the_known_nodes_have_reported():
    service = Restarted(Learned(target=8, ready=8))

    assert service.run(9, nodes=8) == 8
    assert "just started" in service.scaling.decision.inputs.hold_in
    assert service.run(5, nodes=8) < 8

    service = Restarted(Learned(target=8, ready=8))
    assert service.run(60, nodes=7) == 8
    assert "7 of the 8 nodes" in service.scaling.decision.inputs.hold_in
    assert service.run(60, nodes=7) < 8  # the eighth is gone for good


def test_start_ups_are_measured_and_the_90th_percentile_is_used():
    service = Restarted(Learned(start_ups_s=tuple(float(n) for n in range(1, 11))))

    assert service.scaling.start_up_s == 9.0
    assert service.scaling.learned.start_ups_s[0] == 1.0


@pytest.fixture
def full(running, tmp_path):
    """A controller whose disk has no room left."""
    raw = {"controller": {"tick_s": 0.02}, "service": {"s": {"scale": {"mode": "observe"}}}}
    controller = running(settings.parse(raw), tmp_path / "state.db")
    sql = controller.app._store._file.connection

    def fill():
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages}")

    controller.fill = lambda: controller.app._store.run(fill).result(10)
    controller.empty = lambda: controller.app._store.run(
        lambda: sql.execute("PRAGMA max_page_count = 100000")
    ).result(10)
    return controller


def set_scale(controller, count):
    request = scale_pb2.SetScaleRequest(
        service="s",
        request_id=str(uuid.uuid4()),
        manual=scale_pb2.ManualScale(count=count, reason="x" * 1000),
    )
    return controller.scale.SetScale(request, timeout=60).scale


def test_without_room_changes_are_refused_and_the_last_state_goes_on(full):
    last = set_scale(full, 3)
    assert last.target_count == 3
    full.fill()
    refused = None
    for _ in range(200):  # what room is left within pages is used up first
        try:
            last = set_scale(full, 4)
        except grpc.RpcError as error:
            refused = error
            break
    assert refused is not None
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(refused.trailing_metadata())[REASON_KEY] == "STATE_FULL"
    assert "make room" in refused.details()

    get = scale_pb2.GetScaleRequest(service="s")
    before = full.scale.GetScale(get, timeout=60).scale
    assert before.etag == last.etag
    decided = before.decision.decide_time.ToNanoseconds()
    until(
        lambda: (
            full.scale.GetScale(get, timeout=60).scale.decision.decide_time.ToNanoseconds()
            > decided
        )
    )
    full.empty()
    assert set_scale(full, 5).target_count == 5
