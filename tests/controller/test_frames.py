"""What watchers are sent: bytes that say just what the whole message would."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from meshlb import table_wire
from meshlb.controller.frames import ShareFrames, TableFrames
from meshlb.model import LoadShare, NodeState, SpeedCurve, Table, TableNode
from meshlb.v1 import balance_pb2

ids = st.lists(st.text("abc-Ü", min_size=1, max_size=200), unique=True, max_size=6)


def nodes(node_ids):
    return tuple(
        TableNode(
            node_id=node_id,
            incarnation=7 + index,
            address=f"10.0.0.{index}:80",
            state=list(NodeState)[index % 4],
            weight=0.5 + index,
            curve=SpeedCurve(0.04, 0.01, 4.0) if index % 2 else None,
            slots=index or None,
            zone="z" * index,
        )
        for index, node_id in enumerate(node_ids)
    )


def table(node_ids):
    return Table("s", "c", 1, 300, True, nodes(node_ids), "p2c", ("/a.B/C", "/d.E/"))


@given(ids)
def test_a_table_and_its_parts_are_said_as_whole_messages_would(node_ids):
    whole = table(node_ids)
    frames = TableFrames(whole)
    for part in (whole, dataclasses.replace(whole, nodes=whole.nodes[1:4]), whole):
        got = balance_pb2.WatchRoutesResponse.FromString(frames.frame(part))

        assert got == balance_pb2.WatchRoutesResponse(table=table_wire.table_to_pb(part))


@given(ids, st.lists(st.sampled_from([0.0, 1.0, 2.5, 1e12]), min_size=6, max_size=6))
def test_shares_are_said_as_whole_messages_would(node_ids, counts):
    frames = ShareFrames()
    in_flight = dict(zip(node_ids, counts, strict=False))
    for share in (
        LoadShare(0.25, in_flight, counted_sequence=400, interval_s=0.1),
        LoadShare(None, dict(list(in_flight.items())[:2]), counted_sequence=0, interval_s=2.0),
    ):
        got = balance_pb2.WatchRoutesResponse.FromString(frames.frame(share))

        assert got == balance_pb2.WatchRoutesResponse(share=table_wire.share_to_pb(share))


def test_a_table_of_many_nodes_is_whole():
    whole = table([f"node-{n}" for n in range(2000)])

    got = balance_pb2.WatchRoutesResponse.FromString(TableFrames(whole).frame(whole))

    assert [n.node_id for n in got.table.nodes] == [n.node_id for n in whole.nodes]
