"""``meshlb scale watch``: a line a change, through restarts of the controller."""

import json

import grpc

from meshlb.v1 import scale_pb2


def test_watch_prints_a_line_at_each_change_and_ends_when_refused(fake, meshlb, status, decision):
    message = scale_pb2.WatchScaleResponse
    fake.answers["WatchScale"] = [
        message(scale=status()),
        message(scale=status(decision=decision(reason="the same but for a figure"))),
        message(scale=status(ready_count=5)),
        (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE: service = 'llama': it is gone"),
    ]

    code, out, err = meshlb("scale", "watch")
    _, lines, _ = meshlb("scale", "watch", "--json")

    assert (code, err) == (2, "meshlb: service = 'llama': it is gone\n")
    assert [line.split(",")[1] for line in out.splitlines()] == [" 4 ready", " 5 ready"]
    assert [json.loads(line)["readyCount"] for line in lines.splitlines()] == ["4", "5"]


def test_watch_goes_on_through_a_restart_of_the_controller(fake, meshlb, status):
    streams = [
        [scale_pb2.WatchScaleResponse(scale=status()), (grpc.StatusCode.UNAVAILABLE, "going away")],
        [
            scale_pb2.WatchScaleResponse(scale=status(ready_count=6)),
            (grpc.StatusCode.INTERNAL, "BROKEN: enough"),
        ],
    ]
    fake.answers["WatchScale"] = lambda _: streams.pop(0)

    code, out, err = meshlb("scale", "watch", "llama")

    assert code == 1
    assert len(out.splitlines()) == 2
    assert err.splitlines()[0] == "meshlb: controller gone (going away); trying again"
