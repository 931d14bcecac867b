"""Two controllers that are killed, stopped, replaced and all gone, under load: no call fails."""

import contextlib
import signal
import threading

import pytest

import meshlb
from tests.waiting import until

pytestmark = pytest.mark.timeout(400)  # a busy machine starts so many processes slowly
QUICK = {"SILENCE_S": 0.5, "RETURN_AFTER_S": 0.2, "HUNG_S": 0.2}


@contextlib.contextmanager
def calling(channel):
    """Call all the time; give the list of answers, and of errors."""
    ask = channel.unary_unary("/plain.Plain/Ask")
    done, failed, stop = [], [], threading.Event()

    def call():
        while not stop.is_set():
            try:
                done.append(ask(b"", timeout=60))
            except Exception as error:
                failed.append(error)
            stop.wait(0.005)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield done, failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_whatever_becomes_of_the_controllers_no_call_fails(processes, nodes_when, monkeypatch):
    for name, seconds in QUICK.items():
        monkeypatch.setattr(f"meshlb.client.subscription.{name}", seconds)
    first, second = processes.controller(), processes.controller()
    both = f"{first.address},{second.address}"
    for name in ("a", "b"):
        processes.sidecar(both, processes.server(name))
    for one in (first, second):
        nodes_when(one.address, lambda nodes: len(nodes) == 2)

    with meshlb.insecure_channel(f"mesh://{both}/plain") as channel:
        with calling(channel) as (done, failed):
            until(lambda: {b"a", b"b"} <= set(done))
            subscription = channel._group._subscription

            def watches(controller):
                until(lambda: subscription._watching == controller.address)
                enough = len(done) + 20
                until(lambda: len(done) > enough, "calls go on")

            watches(first)
            first.kill()
            first.wait()
            watches(second)
            first = processes.controller(first.address)  # on the same port, knowing nothing
            watches(first)
            first.send_signal(signal.SIGSTOP)
            watches(second)
            first.send_signal(signal.SIGCONT)
            watches(first)
            second.send_signal(signal.SIGTERM)  # upgraded, one after the other
            second.wait(60)
            second = processes.controller(second.address)
            nodes_when(second.address, lambda nodes: len(nodes) == 2)
            first.send_signal(signal.SIGTERM)
            first.wait(60)
            watches(second)
            second.kill()  # all are gone
            second.wait()
            until(lambda: subscription._watching is None or subscription._heard_at is None)
            enough = len(done) + 100
            until(lambda: len(done) > enough, "calls go on with the last table")
            first = processes.controller(first.address)
            watches(first)
            processes.sidecar(both, processes.server("late"))
            until(lambda: b"late" in done, "its tables are taken")
        assert failed == []
