"""Any tables and shares, from a controller that is wrong, newer or hostile: calls go on."""

import random

from hypothesis import example, given
from hypothesis import strategies as st

from meshlb.model import NodeState
from meshlb.v1 import balance_pb2
from tests.fuzz.effort import effort
from tests.fuzz.fleet_world import Client
from tests.fuzz.messages import Bytes, made

RESPONSE = balance_pb2.WatchRoutesResponse.DESCRIPTOR


def drive(choices):
    """Send a client what these choices say; return how many tables it took, and refused."""
    client, source = Client(), Bytes(choices)
    taken = refused = 0
    for now in range(20):
        if source.used_up:
            break
        before = client.routes.table
        message = made(RESPONSE, source)
        problem = client.take(message)
        taken += not problem
        refused += bool(problem)
        table = client.routes.table
        assert table is before or not problem
        if before is not None and (table.controller_id, table.epoch) == (
            before.controller_id,
            before.epoch,
        ):
            assert table.version >= before.version
        picked = client.call(1.0 + now)
        pickable = table is not None and any(
            n.state in (NodeState.ACTIVE, NodeState.UNKNOWN) for n in table.nodes
        )
        assert picked or not pickable
        assert client.routes.client.in_flight == 0
    return taken, refused


@given(st.binary(min_size=200, max_size=800))
@effort(100)
@example(random.Random(1).randbytes(2000))
def test_whatever_a_controller_sends_the_client_can_pick_from_what_it_has(choices):
    drive(choices)


def test_both_ways_are_tried():
    counts = [drive(random.Random(seed).randbytes(400)) for seed in range(20)]
    assert min(map(sum, zip(*counts, strict=True))) > 10
