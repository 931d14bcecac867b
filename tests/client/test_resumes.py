"""Streams that break midway: resumed by the caller's hook, or ended."""

import threading

import grpc
import pytest

from meshlb.client import course
from tests.client.channel_options import IDEMPOTENT
from tests.client.fakes import CLOSED, break_twice, cut_after
from tests.waiting import until


def test_messages_that_reached_the_caller_forbid_the_retry(pair, open_in_turn):
    channel = open_in_turn(IDEMPOTENT)
    pair.a.after_message = pair.b.after_message = cut_after(1)
    got = []
    with pytest.raises(grpc.RpcError) as caught:
        got.extend(channel.unary_stream("/t.T/Count")(b"5", timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(pair.calls) == 1


def test_a_stream_resumes_where_it_broke(pair, open_in_turn):
    asked, told = [], threading.Event()

    def rest(request, received):
        asked.append((request, list(received)))
        left = int(request) - len(received)
        return b"%d" % left if left else None

    channel = open_in_turn([*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])
    pair.a.after_message = cut_after(1, once=told)
    whole, pieced = [b"0", b"1", b"2", b"3"], [b"0", b"1", b"0", b"1"]
    while not asked:
        told.clear()
        call = channel.unary_stream("/t.T/Count")(b"4", timeout=60)
        got = [next(call), next(call)]
        told.set()
        assert [*got, *call] == (pieced if asked else whole)
    assert asked == [(b"4", [b"0", b"1"])]


def test_a_message_that_is_overtaken_by_the_end_of_its_stream_is_told_once(
    pair, open_in_turn, monkeypatch
):
    asked = []

    def rest(request, received):
        asked.append(list(received))
        return b"%d" % (int(request) - len(received))

    def cut(n, context):
        if n == 1 and not asked:
            context.abort(*CLOSED)

    def late(inner):
        message = next(inner)
        if message == b"1":
            until(lambda: asked, "gRPC's thread takes note of the end first")
        return message

    channel = open_in_turn([*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])
    pair.a.after_message = pair.b.after_message = cut
    monkeypatch.setattr(course, "next", late, raising=False)
    assert list(channel.unary_stream("/t.T/Count")(b"4", timeout=60)) == [b"0", b"0", b"1", b"2"]
    assert asked == [[b"0"]]


def test_a_stream_that_broke_after_its_last_message_is_whole(pair, open_in_turn):
    channel = open_in_turn(
        [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: None})]
    )
    pair.a.after_message = pair.b.after_message = cut_after(1)
    call = channel.unary_stream("/t.T/Count")(b"2", timeout=60)
    assert list(call) == [b"0", b"1"]
    assert call.code() is grpc.StatusCode.OK


def test_a_resume_hook_that_raises_ends_the_call_with_the_nodes_error(pair, open_in_turn):
    channel = open_in_turn(
        [*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": lambda request, received: 1 / 0})]
    )
    pair.a.after_message = pair.b.after_message = cut_after(0)
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream("/t.T/Count")(b"2", timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_hook_is_not_asked_again_before_another_message_has_come(pair, open_in_turn):
    asked, told = [], threading.Event()

    def rest(request, received):
        asked.append(list(received))
        return b"%d" % (int(request) - len(received))

    channel = open_in_turn([*IDEMPOTENT, ("meshlb.resume", {"/t.T/Count": rest})])
    break_twice((pair.a, pair.b), told)
    call = channel.unary_stream("/t.T/Count")(b"4", timeout=60)
    got = [next(call), next(call)]
    told.set()
    assert [*got, *call] == [b"0", b"1", b"0", b"1"]
    assert asked == [[b"0", b"1"]]
    assert len(pair.calls) == 3


def test_a_stream_of_requests_is_not_resumed(pair, open_in_turn):
    asked = []

    def rest(request, received):
        asked.append(received)

    channel = open_in_turn([*IDEMPOTENT, ("meshlb.resume", {"/t.T/Chat": rest})])
    pair.a.after_message = pair.b.after_message = cut_after(1)
    got = []
    with pytest.raises(grpc.RpcError) as caught:
        got.extend(channel.stream_stream("/t.T/Chat")(iter([b"1", b"2", b"3"]), timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert asked == []
    assert len(pair.calls) == 1
