"""A controller killed in the midst of changes, over and over: what it answered is there."""

import itertools
import random
import signal
import threading

import grpc
import pytest

from meshlb.v1 import scale_pb2, scale_pb2_grpc

CONFIG = """
[controller]
grace_s = 0.1
[service.s.scale]
mode = "observe"
max = 10000
"""
KILLS = 8


def set_scale(number):
    return scale_pb2.SetScaleRequest(
        service="s",
        request_id=f"request {number}",
        manual=scale_pb2.ManualScale(count=number % 10_000, reason=f"number {number}"),
    )


def change_until_killed(address, numbers, answered):
    with grpc.insecure_channel(address) as channel:
        stub = scale_pb2_grpc.ScaleServiceStub(channel)
        for number in numbers:
            try:
                answer = stub.SetScale(set_scale(number), timeout=60, wait_for_ready=True)
            except grpc.RpcError:
                return
            answered.append((number, answer))


@pytest.mark.timeout(300)
def test_what_was_answered_outlives_kills_in_the_midst_of_changes(processes, tmp_path):
    rng = random.Random(3)
    config = tmp_path / "meshlb.toml"
    config.write_text(CONFIG)
    start = ("127.0.0.1:0", "--config", config, "--state", tmp_path / "state.db")
    numbers = itertools.count(1)
    answered = []
    for _ in range(KILLS):
        controller = processes.controller(*start)
        lists = [[], []]
        writers = [
            threading.Thread(target=change_until_killed, args=(controller.address, numbers, got))
            for got in lists
        ]
        for writer in writers:
            writer.start()
        enough = rng.randint(1, 8)
        while sum(map(len, lists)) < enough:
            assert controller.poll() is None
            writers[0].join(0.002)
        controller.send_signal(signal.SIGKILL)
        controller.wait()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive()
        now = [one for got in lists for one in got]
        assert now
        before = max((number for number, _ in answered), default=0)
        answered += now

    controller = processes.controller(*start)
    with grpc.insecure_channel(controller.address) as channel:
        stub = scale_pb2_grpc.ScaleServiceStub(channel)
        request = scale_pb2.GetScaleRequest(service="s")
        scale = stub.GetScale(request, timeout=60, wait_for_ready=True).scale
        # Of those asked before the last kill it is one that was answered, or was under way then.
        assert int(scale.manual.reason.removeprefix("number ")) > before
        for number, answer in answered:
            assert stub.SetScale(set_scale(number), timeout=60) == answer
        assert stub.GetScale(request, timeout=60).scale.etag == scale.etag
