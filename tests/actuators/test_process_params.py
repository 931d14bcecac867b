"""What can be told to the process actuator, and what it says of wrong words."""

import asyncio
import sys

import pytest

from meshlb.actuators.process import build
from meshlb.actuators.process.params import Params
from meshlb.errors import InvalidInputError
from meshlb.scale_model import ReplicaState


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"command": ("/no/such/program", "{port}")}, "a program that can be started"),
        ({"cwd": "/no/such/folder"}, "cwd = '/no/such/folder'"),
        ({"host": "203.0.113.1"}, "host = '203.0.113.1'"),
        ({"log_dir": "/dev/null/logs"}, "log_dir = '/dev/null/logs'"),
    ],
)
def test_what_cannot_be_started_says_why(bench, more, said):
    async def run():
        async with bench.actuator(**more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert said in lost.reason
            await bench.until(lambda: not bench.ledger.entries())

    asyncio.run(run())


def test_placeholders_are_filled_and_other_braces_stay(bench):
    async def run():
        code = "import sys; print(sys.argv[1:], flush=True); sys.exit(1)"
        words = ("{node_id}", "{service}/{host}/{port}", '{"a": {slots}}', "${port}")
        more = {"command": (sys.executable, "-c", code, *words), "slots": 3}
        async with bench.actuator(**more) as actuator:
            await actuator.apply(bench.order(1, start=1))
            (lost,) = await bench.in_state(actuator, ReplicaState.LOST)
            assert f"['{lost.node_id}', 's/127.0.0.1/" in lost.reason
            assert """'{"a": 3}', '${port}']""" in lost.reason

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"command": ()}, "command = ()"),
        ({"command": "serve {port}"}, "a list of texts"),
        ({"command": ("serve",)}, "{port} or {address}"),
        ({"command": ("serve", "{prot}{port}")}, "{prot}"),
        ({"command": ("serve", "{port}", "{slots}")}, "slots = none"),
        ({"slots": 0}, "slots = 0"),
        ({"ready_limit_s": float("nan")}, "ready_limit_s"),
        ({"grace_s": -1}, "grace_s = -1"),
        ({"backoff_s": 10, "backoff_max_s": 1}, "backoff_max_s = 1"),
        ({"resize": "magic"}, "resize = 'magic'"),
        ({"host": "a b"}, "host = 'a b'"),
        ({"env": {"A": 1}}, "env"),
        ({"sidecar": "no"}, "sidecar = 'no'"),
    ],
)
def test_wrong_parameters_are_named(bench, wrong, said):
    params = Params(**{"command": ("serve", "{port}"), **wrong})
    assert any(said in fault for fault in params.faults()), params.faults()
    with pytest.raises(InvalidInputError, match="="):
        build("s", params, bench.context())


def test_wrong_orders_are_named(bench):
    async def run():
        async with bench.actuator() as actuator:
            with pytest.raises(InvalidInputError, match="start = -1"):
                await actuator.apply(bench.order(1, start=-1))
            assert await actuator.observe() == []

    asyncio.run(run())
