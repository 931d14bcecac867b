"""``meshlb scale get``, against a scripted service over real loopback."""

import json

from meshlb.cli.__main__ import main
from meshlb.v1 import scale_pb2


def test_get_lists_services_with_target_counts_and_reason(fake, meshlb, status):
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse(scales=[status()])

    code, out, _ = meshlb("scale", "get")

    head, row = out.splitlines()
    assert code == 0
    assert head.split() == [
        "SERVICE", "TARGET", "READY", "STARTING", "BOUNDS", "WHY",
    ]  # fmt: skip
    assert row.split()[:5] == ["llama", "6", "4", "2", "1..8"]
    assert row.endswith("2 min ago")


def test_get_shows_mode_and_pauses_only_where_they_say_something(fake, meshlb, status):
    paused = status(mode=scale_pb2.SCALE_MODE_OBSERVE, pause=scale_pb2.ScalePause(scale_in=True))
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse(scales=[paused])

    _, out, _ = meshlb("scale", "get")

    assert out.split()[5:7] == ["MODE", "PAUSED"]
    assert "observe" in out
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(scale=paused)
    _, out, _ = meshlb("scale", "get", "llama")
    assert out.startswith("llama: 6 nodes would be wanted, 4 ready")


def test_get_of_an_empty_controller_says_so(fake, meshlb):
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse()

    assert meshlb("scale", "get")[:2] == (
        0, "no services yet: no sidecar or client has come, and none is configured\n",
    )  # fmt: skip


def test_get_of_one_service_shows_replicas_sizes_and_what_is_held(fake, meshlb, status):
    one = status(
        manual=scale_pb2.ManualScale(min_count=2, reason="launch"),
        pause=scale_pb2.ScalePause(scale_out=True, scale_in=True, reason="incident"),
        problem="the command ended with 127",
    )
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(scale=one)

    code, out, _ = meshlb("scale", "get", "llama")

    assert code == 0
    assert out.startswith("llama: 6 nodes wanted, 4 ready, 2 starting\n")
    for told in (
        "at least 2, until cleared: launch", "out, in: incident", "the command ended with 127",
        "r5       -     starting", "16 -> 20", "3.0 GiB", "etag      e7", "starts one in 31 s",
    ):  # fmt: skip
        assert told in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_the_message_and_leaves_out_what_is_not_known(fake, meshlb):
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(
        scale=scale_pb2.ScaleStatus(service="llama")
    )

    read = json.loads(meshlb("scale", "get", "llama", "--json")[1])

    assert read["readyCount"] == "0"
    assert "targetCount" not in read


def test_a_controller_that_is_not_there_ends_with_1(capsys):
    assert main(["scale", "get", "--controller", "127.0.0.1:1"]) == 1
    assert "is it running there?" in capsys.readouterr().err
