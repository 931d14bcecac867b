"""The automation example against a scripted service: request ids, etags, waiting, giving back."""

import sys

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from examples.automation import __main__ as automation
from meshlb.v1 import scale_pb2

GONE = (grpc.StatusCode.UNAVAILABLE, "going away")
STALE = (grpc.StatusCode.ABORTED, "STALE_ETAG: etag = 'e7': the current one, e8")
NEVER = [sys.executable, "-c", "raise SystemExit(7)"]


@pytest.fixture
def run(fake, status):
    fake.answers["GetScale"] = lambda _: scale_pb2.GetScaleResponse(scale=status())
    fake.answers["SetScale"] = lambda r: scale_pb2.SetScaleResponse(scale=status(etag="e8"))
    fake.answers["WatchScale"] = [scale_pb2.WatchScaleResponse(scale=status(ready_count=10))]
    return lambda *args: automation.main(["llama", "10", "--controller", fake.address, *args])


def test_the_least_count_is_raised_until_it_ends_by_itself(fake, run):
    assert run() == 0

    (asked,) = fake.asked["SetScale"]
    assert asked.etag == "e7"
    assert (asked.manual.min_count, asked.manual.max_count) == (10, 10)
    assert not asked.manual.HasField("count")
    assert asked.manual.HasField("expire_time")


def test_a_change_that_nobody_knows_the_end_of_is_repeated_with_the_same_name(fake, run, status):
    answers = [GONE, GONE, scale_pb2.SetScaleResponse(scale=status(etag="e8"))]
    fake.answers["SetScale"] = lambda _: answers.pop(0)

    assert run() == 0
    assert len({asked.request_id for asked in fake.asked["SetScale"]}) == 1
    assert len(fake.asked["SetScale"]) == 3


def test_a_stale_etag_is_looked_at_again_and_decided_anew(fake, run, status):
    etags = ["e7", "e8"]
    fake.answers["GetScale"] = lambda _: scale_pb2.GetScaleResponse(scale=status(etag=etags.pop(0)))
    answers = [STALE, scale_pb2.SetScaleResponse(scale=status(etag="e9"))]
    fake.answers["SetScale"] = lambda _: answers.pop(0)

    assert run() == 0

    first, second = fake.asked["SetScale"]
    assert (first.etag, second.etag) == ("e7", "e8")
    assert first.request_id != second.request_id


def test_the_stream_is_opened_again_until_the_nodes_are_there(fake, run, status):
    streams = [
        [scale_pb2.WatchScaleResponse(scale=status()), GONE],
        [scale_pb2.WatchScaleResponse(scale=status(ready_count=10))],
    ]
    fake.answers["WatchScale"] = lambda _: streams.pop(0)

    assert run() == 0


def test_what_was_set_before_is_set_again_after_the_command(fake, run, status):
    before = scale_pb2.ManualScale(count=3, reason="by hand")
    fake.answers["GetScale"] = lambda _: scale_pb2.GetScaleResponse(scale=status(manual=before))

    assert run("--", *NEVER) == 7

    raised, given_back = fake.asked["SetScale"]
    assert raised.manual.count == 10
    assert given_back.manual == before
    assert given_back.etag == "e8"


def test_what_was_set_before_and_has_expired_is_not_set_again(fake, run, status):
    before = scale_pb2.ManualScale(count=3, expire_time=Timestamp(seconds=1))
    fake.answers["GetScale"] = lambda _: scale_pb2.GetScaleResponse(scale=status(manual=before))

    assert run("--", *NEVER) == 7
    assert not fake.asked["SetScale"][1].HasField("manual")


def test_what_others_changed_since_is_left(fake, run, status):
    answers = [scale_pb2.SetScaleResponse(scale=status(etag="e8")), STALE]
    fake.answers["SetScale"] = lambda _: answers.pop(0)

    assert run("--", *NEVER) == 7


def test_nodes_that_do_not_come_in_time_end_with_1_and_are_given_back(fake, run, status):
    fake.answers["WatchScale"] = [scale_pb2.WatchScaleResponse(scale=status())]

    assert run("--limit", "1", "--", *NEVER) == 1
    assert not fake.asked["SetScale"][1].HasField("manual")


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        (grpc.StatusCode.NOT_FOUND, 2),
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.FAILED_PRECONDITION, 3),
        (grpc.StatusCode.INTERNAL, 1),
    ],
)
def test_exit_codes_are_those_of_the_command_line(fake, run, code, ended):
    fake.answers["SetScale"] = (code, "REASON: told")

    assert run() == ended
