"""Reports reach every controller at the pace that it orders, whatever becomes of the others."""

import asyncio
import socket

import grpc
import pytest

from meshlb.v1 import load_pb2


def test_reports_come_with_all_that_is_known_and_the_pace_follows_the_orders(loopback):
    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller(interval_s=30) as slow,
            loopback.controller(interval_s=0.02) as fast,
            loopback.agent(slow, fast, node=server.address, slots=3),
        ):
            await loopback.until(lambda: slow.reports and len(fast.reports) >= 60)
            assert len(slow.reports) < len(fast.reports) / 2
            report = fast.reports[0]
            assert report.node.service == "s"
            assert report.node.node_id == "n"
            assert report.node.slot_count == 3
            assert report.node.address == server.address
            assert report.HasField("observe_time")
            # Nobody joins unchecked: the first report already knows.
            assert slow.reports[0].health == report.health == load_pb2.HEALTH_SERVING
            # Found by its port: it is this process.
            last = await fast.until(lambda report: report.process_memory_bytes > 1e6)
            assert not last.HasField("in_flight_count")  # unknown, and not zero

    asyncio.run(run())


def test_the_pace_changes_with_the_order_and_not_after_the_old_interval(loopback):
    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller(interval_s=0.02) as controller,
            loopback.agent(controller, node=server.address),
        ):
            await loopback.until(lambda: len(controller.reports) >= 5)
            controller.interval_s = 1e9  # kept to the longest that makes sense
            before = len(controller.reports)
            await loopback.until(lambda: len(controller.reports) > before)
            sent = -1
            while sent != len(controller.reports):  # at the old pace there is no such quiet
                sent = len(controller.reports)
                await asyncio.sleep(0.3)

    asyncio.run(run())


def test_a_controller_that_restarts_gets_reports_again_and_the_other_notices_nothing(
    loopback, monkeypatch
):
    monkeypatch.setattr("sidecar.report_stream.FIRST_DELAY_S", 0.02)
    monkeypatch.setattr("sidecar.report_stream.LAST_DELAY_S", 0.02)

    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller() as restarted,
            loopback.controller() as other,
        ):
            logs = loopback.logs
            async with loopback.agent(restarted, other, node=server.address):
                await loopback.until(lambda: restarted.reports and other.reports)
                await restarted.stop()
                before = len(other.reports)
                await loopback.until(lambda: len(other.reports) > before + 20)
                restarted.reports.clear()
                await restarted.start()
                await loopback.until(lambda: restarted.reports)
                await loopback.until(
                    lambda: (
                        len(told(logs, restarted.address)) >= 3
                        and told(logs, restarted.address)[-1] == "controller_connected"
                    )
                )
            assert other.streams == 1
            # Once per change, however many attempts there were.
            lost = [e for e in told(logs, restarted.address) if e == "controller_lost"]
            assert 1 <= len(lost) <= 3
            assert told(logs, other.address) == ["controller_connected"]

    asyncio.run(run())


def test_a_refusal_is_told_once_with_its_reason_and_tried_again(loopback, monkeypatch):
    monkeypatch.setattr("sidecar.report_stream.REFUSED_DELAY_S", 0.02)
    monkeypatch.setattr("sidecar.report_stream.REFUSED_LAST_S", 0.05)

    async def run():
        async with loopback.model_server() as server, loopback.controller() as controller:
            text = "ADDRESS_TAKEN: node.address = '127.0.0.1:1': not held by another node"
            controller.refusal = (grpc.StatusCode.ALREADY_EXISTS, text)
            async with loopback.agent(controller, node=server.address):
                await loopback.until(lambda: controller.streams >= 4)
                assert told(loopback.logs, controller.address) == ["report_refused"]
                controller.refusal = None
                await loopback.until(lambda: len(controller.reports) > 3)
            refused = next(e for e in loopback.logs if e["event"] == "report_refused")
            assert refused["log_level"] == "error"
            assert "ADDRESS_TAKEN" in refused["problem"]

    asyncio.run(run())


@pytest.mark.parametrize("thaws", [False, True])
def test_controllers_that_are_away_or_frozen_do_not_hold_up_the_end(loopback, monkeypatch, thaws):
    if not thaws:
        monkeypatch.setattr("sidecar.agent.GOODBYE_LIMIT_S", 0.2)

    async def run():
        with socket.create_server(("127.0.0.1", 0)) as frozen:  # accepts, and never answers
            address = f"127.0.0.1:{frozen.getsockname()[1]}"
            async with (
                loopback.model_server() as server,
                loopback.controller() as controller,
                loopback.agent("127.0.0.1:1", address, controller, node=server.address) as agent,
            ):
                await loopback.until(lambda: controller.reports)
                stopping = asyncio.create_task(agent.stop())
                if thaws:
                    await loopback.until(
                        lambda: controller.goodbyes, "others are told all the same"
                    )
                    assert [goodbye.drain for goodbye in controller.goodbyes] == [False]
                    frozen.close()
                await stopping

    asyncio.run(run())


def told(logs, controller):
    return [e["event"] for e in logs if e.get("controller") == controller]


def test_a_drain_order_is_logged(loopback):
    async def run():
        async with (
            loopback.model_server() as server,
            loopback.controller() as controller,
        ):
            controller.draining = True
            async with loopback.agent(controller, node=server.address):
                logs = loopback.logs
                await loopback.until(lambda: "drain_ordered" in told(logs, controller.address))

    asyncio.run(run())
