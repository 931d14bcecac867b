"""What watchers are sent, as bytes put together from parts that many of them share.

On the wire the entries of a repeated field are records, one after the other, and fields may stand
in any order. So a table is its head and the records of its nodes, joined: each node is encoded
once for all clients that get it, and one client more costs one join. Shares likewise, where only
the eight bytes of a count differ from tick to tick.
"""

from __future__ import annotations

import dataclasses
import struct
from functools import lru_cache
from typing import Any

from meshlb import table_wire
from meshlb.model import LoadShare, Table
from meshlb.v1 import balance_pb2, routing_pb2

_double = struct.Struct("<d").pack


def _tag(message: Any, field: str) -> bytes:
    """Return the tag of a field that holds a message."""
    return bytes((message.DESCRIPTOR.fields_by_name[field].number << 3 | 2,))


_TABLE = _tag(balance_pb2.WatchRoutesResponse, "table")
_SHARE = _tag(balance_pb2.WatchRoutesResponse, "share")
_TABLE_NODE = _tag(routing_pb2.RoutingTable, "nodes")
_SHARE_NODE = _tag(routing_pb2.LoadShare, "nodes")


def _record(tag: bytes, body: bytes) -> bytes:
    """Return a message as a field of another: tag, length in groups of seven bits, body."""
    size = len(body)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return tag + length + body


class TableFrames:
    """One version of a service's table."""

    def __init__(self, table: Table) -> None:
        self._head = table_wire.table_to_pb(
            dataclasses.replace(table, nodes=())
        ).SerializeToString()
        self._nodes: dict[str, bytes] = {}

    def frame(self, table: Table) -> bytes:
        """Return the WatchRoutesResponse with this table, the whole one or a client's part."""
        nodes = self._nodes
        parts = [self._head]
        for node in table.nodes:
            part = nodes.get(node.node_id)
            if part is None:
                message = table_wire.table_node_to_pb(node)
                part = nodes[node.node_id] = _record(_TABLE_NODE, message.SerializeToString())
            parts.append(part)
        return _record(_TABLE, b"".join(parts))


class ShareFrames:
    """The shares of one service's clients at one instant, when all are told the same counts."""

    def __init__(self) -> None:
        self._nodes: dict[str, bytes] = {}

    def frame(self, share: LoadShare) -> bytes:
        """Return the WatchRoutesResponse with this share."""
        nodes = self._nodes
        head = table_wire.share_to_pb(dataclasses.replace(share, in_flight={}))
        parts = [head.SerializeToString()]
        for node_id, count in share.in_flight.items():
            part = nodes.get(node_id)
            if part is None:
                part = nodes[node_id] = _before_count(node_id) + _double(count)
            parts.append(part)
        return _record(_SHARE, b"".join(parts))


@lru_cache(maxsize=100_000)
def _before_count(node_id: str) -> bytes:
    """Return the record of a node's count but for the count: its last field, eight bytes."""
    message = routing_pb2.NodeInFlight(node_id=node_id, in_flight_count=1.0)
    return _record(_SHARE_NODE, message.SerializeToString())[:-8]
