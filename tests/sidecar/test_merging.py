"""No probe, whatever it says or fails to, spoils or stops a report."""

import asyncio

import pytest

from meshlb import wire
from meshlb.model import Health, NodeInfo
from sidecar.signals import merged

INFO = NodeInfo(service="s", node_id="n", incarnation=1, address="127.0.0.1:1")


def test_fields_of_all_probes_meet_and_the_later_name_wins():
    message, problems = merged(
        INFO,
        {"host": {"host_cpu": 0.5, "host_memory": 0.25}, "orca": {"host_cpu": 0.75, "slots": 4}},
        12.5,
    )
    report = wire.load_report_from_pb(message)
    assert (report.host_cpu, report.host_memory, report.gpu) == (0.75, 0.25, None)
    assert report.node.slots == 4
    assert report.observe_time_s == 12.5
    assert problems == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu": float("nan")},
        {"gpu": 1.5},
        {"in_flight": -1},
        {"in_flight": 2**70},
        {"in_flight": "many"},
        {"named_metrics": {str(n): 1.0 for n in range(65)}},
        {"time_to_first_token_s": float("inf")},
        {"slots": 0},
        {"health": "fine"},
        {"no_such_field": 1},
    ],
)
def test_a_probe_with_a_wrong_figure_is_left_out_and_named(wrong):
    message, problems = merged(INFO, {"good": {"health": Health.SERVING}, "bad": wrong}, 1.0)
    report = wire.load_report_from_pb(message)
    assert report.health is Health.SERVING
    assert report.gpu is report.in_flight is report.node.slots is None
    assert list(problems) == ["bad"]
    assert problems["bad"]


def test_a_failing_and_a_hanging_probe_are_logged_once_and_stop_nothing(loopback, monkeypatch):
    async def fail(self):
        raise OSError("no such sensor")

    async def hang(self):
        await asyncio.Event().wait()

    monkeypatch.setattr("sidecar.agent.READ_LIMIT_S", 0.01)
    monkeypatch.setattr("sidecar.probes.host.Probe.read", fail)
    monkeypatch.setattr("sidecar.probes.gpu.Probe.read", hang)

    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller() as controller,
            loopback.agent(controller, node=server.address),
        ):
            await loopback.until(lambda: len(controller.reports) > 10)
            report = controller.reports[-1]
            assert report.health == 1
            assert not report.HasField("host_cpu_utilization")
        failed = [e for e in loopback.logs if e["event"] == "probe_failed"]
        assert sorted(e["probe"] for e in failed) == ["gpu", "host"]

    asyncio.run(run())
