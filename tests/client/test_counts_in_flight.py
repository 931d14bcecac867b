"""Every attempt that begins ends, exactly once, whatever becomes of its call."""

import gc
import random
import threading

import grpc

from tests.client.fakes import aborting


def at_nodes(mesh):
    return sum(n.load.in_flight for n in mesh.routes.nodes.values())


def hold(mesh):
    mesh.it.unary_unary("/t.T/Echo")(b"", timeout=60)
    mesh.hold()


def test_a_call_is_in_flight_until_its_last_message_is_read(mesh):
    call = mesh.it.unary_stream("/t.T/Count")(b"3", timeout=60)
    assert next(call) == b"0"
    assert at_nodes(mesh) == 1
    assert list(call) == [b"1", b"2"]
    mesh.until(lambda: at_nodes(mesh) == 0)


def test_dropped_calls_of_every_arity_are_cancelled_and_counted_out(mesh):
    hold(mesh)
    calls = [
        mesh.it.unary_unary("/t.T/Echo").future(b""),
        mesh.it.unary_stream("/t.T/Count")(b"1"),
        mesh.it.stream_unary("/t.T/Join").future(iter([b"1"])),
        mesh.it.stream_stream("/t.T/Chat")(iter([b"1"])),
    ]
    mesh.until(lambda: at_nodes(mesh) == 4)
    while calls:
        calls.pop()
    mesh.until(lambda: at_nodes(mesh) == 0)


def test_a_dropped_call_in_a_cycle_is_counted_out_when_it_is_collected(mesh):
    hold(mesh)
    call = mesh.it.unary_stream("/t.T/Count")(b"1")
    call.me = call
    mesh.until(lambda: at_nodes(mesh) == 1)
    del call
    with mesh.routes.lock:  # a collection may come in the midst of counting
        gc.collect()
    mesh.until(lambda: at_nodes(mesh) == 0)


def test_an_iterator_left_midway_is_counted_out(mesh):
    def read_one():
        return next(iter(mesh.it.unary_stream("/t.T/Count")(b"1000")))

    assert read_one() == b"0"
    mesh.until(lambda: at_nodes(mesh) == 0)


def test_a_call_with_a_done_callback_lives_without_being_held(mesh):
    done = threading.Event()
    mesh.it.unary_unary("/t.T/Echo").future(b"1").add_done_callback(lambda future: done.set())
    gc.collect()
    assert done.wait(60)


def test_a_stream_that_nobody_reads_ends_with_its_deadline(mesh):
    mesh.it.unary_unary("/t.T/Echo")(b"", timeout=60)
    call = mesh.it.unary_stream("/t.T/Count")(b"100000", timeout=0.2)
    mesh.until(call.done)
    assert mesh.routes.started == 2
    mesh.until(lambda: at_nodes(mesh) == 0)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not call.is_active()


def test_counts_go_to_the_controller_by_outcome(mesh):
    echo = mesh.it.unary_unary("/t.T/Echo")
    for _ in range(3):
        echo(b"", timeout=60)
    mesh.a.hook = mesh.b.hook = aborting(grpc.StatusCode.INTERNAL, "no")
    for _ in range(2):
        with_error(echo)
    mesh.a.hook = mesh.b.hook = aborting(grpc.StatusCode.NOT_FOUND, "no")
    with_error(echo)
    mesh.a.hook = mesh.b.hook = lambda m, c: None
    mesh.hold()
    future = echo.future(b"")

    def told():
        if not mesh.controller.reports:
            return None
        nodes = mesh.controller.reports[-1].nodes
        return tuple(
            sum(getattr(n, field) for n in nodes)
            for field in ("started", "succeeded", "failed", "in_flight")
        )

    mesh.until(lambda: told() == (7, 3, 2, 1), "7 started, 3 succeeded, 2 failed, 1 in flight")
    future.cancel()
    mesh.until(lambda: told() == (7, 3, 2, 0))
    assert any(n.in_flight_time_s > 0 for n in mesh.controller.reports[-1].nodes)


def with_error(call):
    try:
        call(b"", timeout=60)
    except grpc.RpcError:
        return
    raise AssertionError("no error")


def test_after_a_storm_nothing_is_in_flight(mesh, busy):
    """Random calls, cancels, drops, failures, restarts and tables: the counts come back to 0."""
    rng = random.Random(7)
    chances = threading.local()

    def trouble(method, context):
        roll = rng.random()
        if roll < 0.1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        elif roll < 0.15:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        elif roll < 0.2:
            context.cancel()

    mesh.a.hook = mesh.b.hook = trouble
    channel = mesh.it
    echo = channel.unary_unary("/t.T/Echo")
    count = channel.unary_stream("/t.T/Count")
    join = channel.stream_unary("/t.T/Join")
    chat = channel.stream_stream("/t.T/Chat")

    def make_one(rng):
        timeout = rng.choice((0.001, 0.05, 10))
        kind = rng.randrange(6)
        if kind == 0:
            echo(b"", timeout=timeout)
        elif kind == 1:
            join(iter([b"1", b"2"]), timeout=timeout)
        else:
            call = (
                lambda: echo.future(b"", timeout=timeout),
                lambda: count(b"20", timeout=timeout),
                lambda: join.future(iter([b"1"]), timeout=timeout),
                lambda: chat(iter([b"1", b"2"]), timeout=timeout),
            )[kind - 2]()
            end = rng.randrange(5)
            if end == 0:
                call.cancel()
            elif end == 1:
                del call
            elif kind in (3, 5):
                for n, _ in enumerate(call):
                    if end == 3 and n == 1:
                        break
            else:
                call.exception(60)

    def load(seed):
        chances.rng = random.Random(seed)
        for _ in range(60):
            try:
                make_one(chances.rng)
            except (grpc.RpcError, grpc.FutureCancelledError):
                continue

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(6):
        mesh.controller.push(*((mesh.a,) if turn % 2 else (mesh.a, mesh.b)))
        if turn == 2:
            mesh.b.stop()
        elif turn == 4:
            mesh.b.start()
        threads[turn].join(0.2)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    mesh.controller.push(mesh.a, mesh.b)
    mesh.until(lambda: busy(mesh.routes) == 0)
