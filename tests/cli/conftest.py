"""A ScaleService and the drain part of a BalanceService that play a script, over real loopback."""

import json
from concurrent import futures

import grpc
import pytest

from meshlb.cli.__main__ import main
from meshlb.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    load_pb2,
    scale_pb2,
    scale_pb2_grpc,
)


class Fake(scale_pb2_grpc.ScaleServiceServicer, balance_pb2_grpc.BalanceServiceServicer):
    """Answers what ``answers`` says by call, keeps what was asked in ``asked``.

    An answer is a message, a list of messages for a stream, or an Exception-like (code, text).
    """

    def __init__(self):
        self.answers = {}
        self.asked = {}
        self.address = ""

    def _answer(self, call, request, context):
        self.asked.setdefault(call, []).append(request)
        answer = self.answers[call]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, tuple):
            context.abort(*answer)
        return answer

    def _stream(self, call, request, context):
        answer = self._answer(call, request, context)
        for one in answer:
            if isinstance(one, tuple):
                context.abort(*one)
            yield one


def _add(names, kind):
    def unary(call):
        return lambda self, request, context: self._answer(call, request, context)

    def stream(call):
        return lambda self, request, context: self._stream(call, request, context)

    for name in names:
        setattr(Fake, name, (stream if kind == "stream" else unary)(name))


_add(
    [
        "GetScale", "ListScales", "SetScale", "PutScalePolicy", "GetScalePolicy", "PauseScale",
        "ResumeScale", "ListScaleDecisions", "PreviewScalePolicy", "ListNodes", "UndrainNode",
    ],
    "unary",
)  # fmt: skip
_add(["WatchScale", "DrainNode"], "stream")


@pytest.fixture
def fake():
    """The script's service, serving."""
    fake = Fake()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    scale_pb2_grpc.add_ScaleServiceServicer_to_server(fake, server)
    balance_pb2_grpc.add_BalanceServiceServicer_to_server(fake, server)
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait(10)


@pytest.fixture
def meshlb(fake, capsys):
    """Runs a command against it: (exit code, standard output, standard error)."""

    def call(*args):
        code = main([*map(str, args), "--controller", fake.address])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def _node(service, node_id):
    return balance_pb2.NodeStatus(node=load_pb2.NodeInfo(service=service, node_id=node_id))


NOW = 1_590_000_000
"""When the decision of the script was made, Unix seconds."""


def _decision(**changes):
    """A decision with all that one can have: two rules speak, one is silent, two steps."""
    record = {
        "service": "llama", "target": 6, "raw": 4, "least": 1, "most": 8, "panic": False,
        "inputs": {
            "now": float(NOW), "ready": 4, "starting": 2, "draining": 0, "previous": 6,
            "signals": {
                "in_flight": {"stable": 44.3, "panic": 40.0, "last": 38.0, "mean": 11.1,
                              "measured": 4, "missing": 0},
                "rate": {"stable": 7.61, "panic": 8.0, "last": 8.1, "mean": 1.9,
                         "measured": 4, "missing": 0},
                "cpu": {"stable": 2.4, "panic": 2.5, "last": 2.6, "mean": 0.8,
                        "measured": 3, "missing": 1},
                "tokens": {"stable": 9e4, "panic": None, "last": None, "mean": None,
                           "measured": 4, "missing": 0},
            },
            "start_up_s": 31.0, "recent_most": 6, "manual": None, "hold_in": "",
            "pause": {"scale_in": False, "scale_out": False, "reason": ""},
            "panic_since": None,
        },
        "policy": {
            "service": "llama", "scale_in_window_s": 300.0, "stable_window_s": 60.0,
            "panic_window_s": 6.0, "rate_period_s": 15.0,
            "rules": [{"kind": "reserve", "params": {"signal": "in_flight"}, "name": ""}],
        },
    }  # fmt: skip
    message = scale_pb2.ScaleDecision(
        decision_id=812,
        service="llama",
        mode=scale_pb2.SCALE_MODE_ACTIVE,
        target_count=6,
        previous_count=6,
        reason="44.3 calls in flight need 4 nodes; 6 stay since so many were wanted 2 min ago",
        wants=[
            scale_pb2.RuleWant(
                rule="reserve", verb=scale_pb2.SCALE_VERB_SET, count=4,
                reason="44.3 in flight / 16 a node = 2.8, and 1.2 in reserve (square root of 2.8 "
                "times 0.7, more than the growth in one start-up)",
            ),
            scale_pb2.RuleWant(
                rule="cpu guard", verb=scale_pb2.SCALE_VERB_AT_LEAST, count=4,
                reason="CPU 60 % is below 80 %",
            ),
            scale_pb2.RuleWant(rule="forecast", reason="too little history: 4 of 30 min"),
        ],
        clamps=[
            scale_pb2.ScaleClamp(
                name="window", before_count=4, after_count=6,
                reason="6 was the greatest want of the last 300 s",
            )
        ],
        record_json=json.dumps(record),
    )  # fmt: skip
    message.decide_time.FromSeconds(NOW)
    for key, value in changes.items():
        setattr(message, key, value)
    return message


def _status(**changes):
    """A service in the middle of a scale-out."""
    message = scale_pb2.ScaleStatus(
        service="llama",
        etag="e7",
        target_count=6,
        ready_count=4,
        starting_count=2,
        min_count=1,
        max_count=8,
        mode=scale_pb2.SCALE_MODE_ACTIVE,
        decision=_decision(),
        actuator="process",
        replicas=[
            scale_pb2.Replica(
                replica_id="r1", node_id="n1", state=scale_pb2.REPLICA_STATE_READY,
                in_flight_count=11,
            ),
            scale_pb2.Replica(
                replica_id="r5", state=scale_pb2.REPLICA_STATE_STARTING, reason="not healthy yet"
            ),
        ],
        resources=[
            scale_pb2.Resources(
                slot_count=20, cpu_cores=2.5, memory_bytes=3 << 30, current_slot_count=16,
                reason="P95 of use + 15 %",
            )
        ],
    )  # fmt: skip
    message.replicas[0].state_time.FromSeconds(NOW - 600)
    message.start_up_time.FromSeconds(31)
    for key, value in changes.items():
        if hasattr(value, "DESCRIPTOR"):
            getattr(message, key).CopyFrom(value)
        else:
            setattr(message, key, value)
    return message


@pytest.fixture
def node():
    return _node


@pytest.fixture
def decision():
    return _decision


@pytest.fixture
def status():
    return _status
