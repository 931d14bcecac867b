"""``meshlb scale set``, ``pause`` and ``resume``: what is sent, refused, waited for."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from meshlb.v1 import scale_pb2

STALE = (grpc.StatusCode.ABORTED, "STALE_ETAG: etag = 'e6': the current one, e7")


def test_set_sends_count_bounds_expiry_reason_and_etag(fake, meshlb, status):
    fake.answers["SetScale"] = lambda r: scale_pb2.SetScaleResponse(scale=status(manual=r.manual))
    before = datetime.now(UTC)

    code, out, _ = meshlb(
        "scale", "set", "llama", 6, "--min", 0, "--max", 7, "--for", "1h30m",
        "--reason", "load test", "--etag", "e7", "--request-id", "mine",
    )  # fmt: skip

    (asked,) = fake.asked["SetScale"]
    assert code == 0
    assert (asked.service, asked.request_id, asked.etag) == ("llama", "mine", "e7")
    manual = asked.manual
    assert (manual.count, manual.min_count, manual.max_count) == (6, 0, 7)
    assert manual.HasField("min_count")
    ends = manual.expire_time.ToDatetime(UTC) - before
    assert timedelta(hours=1.5) <= ends < timedelta(hours=2)
    assert "6 nodes, at least 0, at most 7, until " in out
    assert out.endswith(": load test\n")


def test_set_of_bounds_alone_sets_no_count_and_each_change_has_its_own_name(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())

    meshlb("scale", "set", "llama", "--min", 2)
    _, out, _ = meshlb("scale", "set", "llama", "--clear")

    bounds, clear = fake.asked["SetScale"]
    assert "HELD  scale-in, by window\n  NEXT  rises as soon as a rule wants more; falls by " in out
    assert not bounds.manual.HasField("count")
    assert not clear.HasField("manual")
    assert len({bounds.request_id, clear.request_id, ""}) == 3


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "COUNT: a number of nodes"),
        (("4", "--until", "2020-01-01"), "--until = '2020-01-01': a time that lies ahead"),
        (("-1",), "COUNT = '-1': a whole number from 0 to 10000"),
        (("9" * 30,), "a whole number from 0 to 10000"),
        (("many",), "COUNT = 'many'"),
        (("--max", "0"), "--max = '0': a whole number from 1 to 10000"),
        (("--min", "5", "--max", "4"), "--min = 5: at most --max = 4"),
        (("4", "--clear"), "--clear: alone"),
        (("4", "--for", "2"), "--for = '2': a span such as"),
        (("4", "--for", "999d"), "at most 366d"),
        (("--for", "2h"), "COUNT: a number of nodes"),
        (("4", "--wait", "soon"), "--wait = 'soon'"),
    ],
)
def test_a_wrong_set_ends_with_2_and_asks_nobody(fake, meshlb, args, told):
    code, _, err = meshlb("scale", "set", "llama", *args)

    assert code == 2
    assert told in err
    assert "SetScale" not in fake.asked


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (STALE, 3, "meshlb: etag = 'e6': the current one, e7\n"),
        ((grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTUATOR: none"), 3, "meshlb: none\n"),
        ((grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE: service = 'x': y"), 2, "service = 'x'"),
        ((grpc.StatusCode.INVALID_ARGUMENT, "INVALID: count = 9: at most 8"), 2, "count = 9: at"),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL: no room for it"), 1, "no room for it"),
        ((grpc.StatusCode.UNIMPLEMENTED, "Method not found!"), 1, "older than this command?"),
    ],
)
def test_refusals_have_exit_codes_that_scripts_can_use(fake, meshlb, answer, code, told):
    fake.answers["SetScale"] = answer

    ended, out, err = meshlb("scale", "set", "llama", "3", "--request-id", "r")

    assert (ended, out) == (code, "")
    assert told in err
    assert ("to repeat it safely: --request-id r" in err) == (code == 1)
    assert len({asked.request_id for asked in fake.asked["SetScale"]}) == 1


def test_set_wait_returns_when_the_target_is_what_was_set_and_is_reached(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())
    fake.answers["WatchScale"] = [
        scale_pb2.WatchScaleResponse(scale=status(target_count=4, ready_count=4, starting_count=0)),
        scale_pb2.WatchScaleResponse(scale=status()),
        scale_pb2.WatchScaleResponse(scale=status(ready_count=6, starting_count=0)),
    ]

    code, out, _ = meshlb("scale", "set", "llama", 6, "--wait", "60s")

    assert (code, out.splitlines()[0]) == (0, "llama: 6 nodes wanted, 6 ready")


def test_set_wait_that_is_not_reached_ends_with_1(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())
    fake.answers["WatchScale"] = [scale_pb2.WatchScaleResponse(scale=status())]

    code, _, err = meshlb("scale", "set", "llama", 6, "--wait", "0.5s")

    assert code == 1
    assert "--wait: not reached in 0.5 s: " in err


def test_a_count_outside_the_bounds_is_told(fake, meshlb, status):
    fake.answers["SetScale"] = lambda r: scale_pb2.SetScaleResponse(scale=status(manual=r.manual))

    assert "bounds of 1 to 8 hold" in meshlb("scale", "set", "llama", 9)[1]
    assert "bounds" not in meshlb("scale", "set", "llama", 8)[1]


@pytest.mark.parametrize(
    ("way", "both"), [((), (True, True)), (("in",), (False, True)), (("out",), (True, False))]
)
def test_pause_and_resume_hold_the_directions_told(fake, meshlb, way, both, status):
    fake.answers["PauseScale"] = lambda r: scale_pb2.PauseScaleResponse(scale=status(pause=r.pause))
    fake.answers["ResumeScale"] = scale_pb2.ResumeScaleResponse(scale=status())

    assert meshlb("scale", "pause", "llama", *way, "--reason", "x")[0] == 0
    assert meshlb("scale", "resume", "llama", *way)[:2] == (0, "llama: nothing is paused\n")

    (paused,), (resumed,) = fake.asked["PauseScale"], fake.asked["ResumeScale"]
    assert (paused.pause.scale_out, paused.pause.scale_in) == both
    assert (resumed.scale_out, resumed.scale_in) == both
    assert paused.pause.reason == "x"
