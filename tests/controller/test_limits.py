"""Limits of calls in flight, from the configuration to the clients that hold to them."""

import threading

import meshlb
from meshlb.settings import ControllerSettings, ServiceSettings, Settings
from tests.client.fakes import Node
from tests.waiting import until


def test_clients_hold_to_the_limits_of_their_service(running):
    service = ServiceSettings(max_in_flight_per_node=4, priorities={"high": 0.25, "default": 0})
    controller = running(Settings(ControllerSettings(grace_s=0), services={"s": service}))
    server = Node("a")
    at_work, seen, lock = [], [], threading.Lock()

    def count(*_):
        with lock:
            at_work.append(1)
            seen.append(len(at_work))
        threading.Event().wait(0.002)
        with lock:
            at_work.pop()

    server.hook = count
    ending = controller.node("a", address=f"127.0.0.1:{server.port}")
    try:
        with meshlb.insecure_channel(f"mesh://{controller.address}/s") as channel:
            ask = channel.unary_unary("/t.T/Echo")
            calls = [ask.future(b"%d" % n, timeout=100) for n in range(50)]
            assert [call.result() for call in calls] == [b"%d" % n for n in range(50)]
            gate = channel._group.routes.gate
            until(lambda: gate._admitted is not None, "the controller says what its part is")
            assert gate.limit == 4
            assert max(seen) <= 4
    finally:
        ending.end()
        server.stop()
