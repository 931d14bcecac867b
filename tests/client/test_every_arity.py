"""A channel of ours beside one of gRPC's: every arity, every style of call, the same answers."""

import threading

import grpc
import pytest

from tests.client.fakes import aborting


@pytest.fixture(params=["mesh", "raw"])
def channel(request, mesh):
    """The same test over gRPC's own channel says that the test is right."""
    if request.param == "mesh":
        yield mesh.it
    else:
        with grpc.insecure_channel(f"127.0.0.1:{mesh.a.port}") as raw:
            yield raw


def node_of(call):
    return dict(call.initial_metadata())["node"]


def test_unary_unary_in_its_three_styles(channel):
    echo = channel.unary_unary("/t.T/Echo", bytes, bytes)
    assert echo(b"1", timeout=60, metadata=(("k", "v"),), wait_for_ready=True) == b"1"
    answer, call = echo.with_call(b"2", 5, (("k", "v"),), None, None, grpc.Compression.Gzip)
    assert answer == b"2"
    assert call.code() is grpc.StatusCode.OK
    assert node_of(call) == dict(call.trailing_metadata())["node"] in ("a", "b")
    future = echo.future(b"3", timeout=60)
    assert future.result(60) == b"3"
    assert future.exception() is None
    assert future.traceback() is None
    assert future.code() is grpc.StatusCode.OK
    assert future.details() == ""
    assert node_of(future) in ("a", "b")
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert not future.cancel()
    assert not future.is_active()
    assert not future.add_callback(lambda: None)


def test_unary_stream_is_call_future_and_iterator(channel):
    count = channel.unary_stream("/t.T/Count", bytes, bytes)
    call = count(b"3", timeout=60)
    assert isinstance(call, grpc.Call)
    assert isinstance(call, grpc.Future)
    assert node_of(call) in ("a", "b")
    assert call.is_active()
    assert 0 < call.time_remaining() <= 60
    assert next(call) == b"0"
    assert call.next() == b"1"
    assert list(call) == [b"2"]
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK
    assert dict(call.trailing_metadata())["node"] in ("a", "b")
    assert call.exception() is None
    assert count(b"0").time_remaining() is None


def test_stream_unary_in_its_three_styles(channel):
    join = channel.stream_unary("/t.T/Join", bytes, bytes)
    assert join(iter([b"1", b"2"]), timeout=60) == b"1,2"
    answer, call = join.with_call(iter([b"3"]), timeout=60, metadata=(("k", "v"),))
    assert answer == b"3"
    assert call.code() is grpc.StatusCode.OK
    assert node_of(call) in ("a", "b")
    assert join.future(iter([b"4", b"5"])).result(60) == b"4,5"
    assert join(iter([])) == b""


def test_stream_stream_goes_both_ways_at_once(channel):
    chat = channel.stream_stream("/t.T/Chat", bytes, bytes)
    said = threading.Semaphore(0)

    def say():
        for n in range(3):
            said.acquire(timeout=60)
            yield b"%d" % n

    call = chat(say(), timeout=60)
    for n in range(3):
        said.release()
        assert next(call) == b"%d" % n
    with pytest.raises(StopIteration):
        next(call)
    assert call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("registered", [False, True])
def test_registered_method_by_keyword_and_by_position(channel, registered):
    for arity, name, ask in (
        ("unary_unary", "Echo", b"1"),
        ("unary_stream", "Count", b"1"),
        ("stream_unary", "Join", iter([b"1"])),
        ("stream_stream", "Chat", iter([b"1"])),
    ):
        make = getattr(channel, arity)
        make(f"/t.T/{name}", bytes, bytes, registered)
        answer = make(f"/t.T/{name}", bytes, bytes, _registered_method=registered)(ask)
        assert answer if isinstance(answer, bytes) else list(answer)


def test_metadata_reaches_the_server(mesh):
    echo = mesh.it.unary_unary("/t.T/Echo")
    echo(b"", metadata=(("k", "v"), ("b-bin", b"\0")))
    list(mesh.it.stream_stream("/t.T/Chat")(iter([b"1"]), metadata=[("k", "w")]))
    came = [*mesh.a.metadata, *mesh.b.metadata]
    assert {m["k"] for m in came} == {"v", "w"}
    assert any(m.get("b-bin") == b"\0" for m in came)


def each_failing(channel, timeout=60):
    """Yield a function a style, each raising what its call ended with."""
    echo = channel.unary_unary("/t.T/Echo")
    count = channel.unary_stream("/t.T/Count")
    join = channel.stream_unary("/t.T/Join")
    chat = channel.stream_stream("/t.T/Chat")
    yield lambda: echo(b"1", timeout=timeout)
    yield lambda: echo.with_call(b"1", timeout=timeout)
    yield lambda: echo.future(b"1", timeout=timeout).result()
    yield lambda: list(count(b"1", timeout=timeout))
    yield lambda: join(iter([b"1"]), timeout=timeout)
    yield lambda: join.with_call(iter([b"1"]), timeout=timeout)
    yield lambda: join.future(iter([b"1"]), timeout=timeout).result()
    yield lambda: list(chat(iter([b"1"]), timeout=timeout))


def test_a_nodes_error_comes_through_as_it_is(mesh, channel):
    def fail(method, context):
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    mesh.a.hook = mesh.b.hook = fail
    for call in each_failing(channel):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no such thing"
        assert ("why", "because") in tuple(caught.value.trailing_metadata())
        assert "no such thing" in caught.value.debug_error_string()
    assert len(mesh.calls) == 8


def test_a_deadline_ends_the_call(mesh, channel):
    mesh.hold()
    for call in each_failing(channel, timeout=0.1):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    mesh.let_go()


@pytest.mark.parametrize("arity", ["future", "unary_stream", "join", "stream_stream"])
def test_cancel_ends_the_call_and_its_futures(mesh, channel, arity):
    mesh.hold()
    call = {
        "future": lambda: channel.unary_unary("/t.T/Echo").future(b""),
        "unary_stream": lambda: channel.unary_stream("/t.T/Count")(b"1"),
        "join": lambda: channel.stream_unary("/t.T/Join").future(iter([b"1"])),
        "stream_stream": lambda: channel.stream_stream("/t.T/Chat")(iter([b"1"])),
    }[arity]()
    with pytest.raises(grpc.FutureTimeoutError):
        call.result(timeout=0.05)
    ended = threading.Event()
    told = []
    assert call.add_callback(ended.set)
    call.add_done_callback(told.append)
    assert call.running()
    assert call.cancel()
    assert ended.wait(60)
    mesh.until(lambda: told == [call])
    assert call.cancelled()
    assert call.done()
    assert not call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert "ancelled" in call.details()
    for outcome in (call.result, call.exception, call.traceback):
        with pytest.raises(grpc.FutureCancelledError):
            outcome(timeout=60)
    call.add_done_callback(told.append)
    assert told == [call, call]
    mesh.let_go()


def test_a_failed_futures_exception_and_traceback(mesh, channel):
    mesh.a.hook = mesh.b.hook = aborting(grpc.StatusCode.ABORTED, "no")
    future = channel.unary_unary("/t.T/Echo").future(b"")
    assert future.exception(60).code() is grpc.StatusCode.ABORTED
    assert future.traceback(60) is not None
    with pytest.raises(grpc.RpcError):
        future.result()


def test_a_request_that_cannot_be_serialized_is_an_internal_error(mesh, channel):
    def broken(request):
        raise TypeError(request)

    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Echo", broken)(b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Echo", None, broken)(b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    with pytest.raises(grpc.RpcError):
        list(channel.unary_stream("/t.T/Count", broken)(b""))
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/t.T/Echo", broken).future(b"").result()


def test_requests_that_raise_end_the_call(mesh, channel):
    def broken():
        yield b"1"
        raise RuntimeError("the caller's own")

    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary("/t.T/Join")(broken(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    with pytest.raises(grpc.RpcError):
        list(channel.stream_stream("/t.T/Chat")(broken(), timeout=60))


def test_wrong_metadata_raises_as_with_grpc_and_leaves_nothing_behind(channel):
    with pytest.raises((ValueError, TypeError)):
        channel.unary_unary("/t.T/Echo")(b"", metadata=5)
    with pytest.raises((ValueError, TypeError)):
        channel.unary_stream("/t.T/Count")(b"1", metadata=5)


def test_call_credentials_are_refused_on_plain_text_as_with_grpc(channel):
    credentials = grpc.access_token_call_credentials("secret")
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Echo")(b"", credentials=credentials)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_after_close_every_use_raises_value_error(channel):
    echo = channel.unary_unary("/t.T/Echo")
    count = channel.unary_stream("/t.T/Count")
    join = channel.stream_unary("/t.T/Join")
    chat = channel.stream_stream("/t.T/Chat")
    assert echo(b"1") == b"1"
    channel.close()
    channel.close()
    for call in (
        lambda: echo(b""),
        lambda: echo.with_call(b""),
        lambda: echo.future(b""),
        lambda: count(b"1"),
        lambda: join(iter([])),
        lambda: join.future(iter([])),
        lambda: chat(iter([])),
    ):
        with pytest.raises(ValueError, match=r"(?i)closed"):
            call()


def test_close_cancels_calls_that_run(mesh, channel):
    mesh.hold()
    future = channel.unary_unary("/t.T/Echo").future(b"")
    stream = channel.unary_stream("/t.T/Count")(b"1")
    errors = []

    def block():
        try:
            channel.unary_unary("/t.T/Echo")(b"")
        except grpc.RpcError as error:
            errors.append(error.code())

    thread = threading.Thread(target=block)
    thread.start()
    mesh.until(lambda: len(mesh.calls) == 3)
    with channel:
        pass
    thread.join(60)
    assert errors == [grpc.StatusCode.CANCELLED]
    assert future.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    mesh.let_go()
