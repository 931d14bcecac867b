"""Each client's own stable part of its service's table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from meshlb.model import Table
from meshlb.policy import subsets
from meshlb.policy.client_record import ClientRecord


class TableParts:
    """The parts of one service's tables: found once, and kept while the nodes are the same."""

    def __init__(self, size: int) -> None:
        """``size``: nodes in a part; a table of no more goes out whole."""
        self._size = size
        self._of: Table | None = None
        """Table whose nodes ``_ids`` and ``_ring`` are."""
        self._ids: list[str] = []
        self._ring: list[str] = []
        self._parts: dict[int, tuple[Sequence[str], list[int]]] = {}
        """A client's nodes in ring order, and their places in the table, by client number."""

    def of(self, table: Table, client: ClientRecord) -> Table:
        """Return what a client is to have of a table, and note its nodes in its record."""
        if self._of is not table:
            ids = [n.node_id for n in table.nodes]
            self._of = table
            if ids != self._ids:
                self._ids = ids
                self._ring = subsets.ring(ids)
                self._parts.clear()
        if len(self._ids) <= self._size:
            client.node_ids = self._ids
            return table
        part = self._parts.get(client.number)
        if part is None:
            own = subsets.subset(self._ring, client.number, self._size)
            chosen = set(own)
            places = [at for at, node_id in enumerate(self._ids) if node_id in chosen]
            part = self._parts[client.number] = own, places
        client.node_ids, places = part
        nodes = table.nodes
        return dataclasses.replace(table, nodes=tuple([nodes[at] for at in places]))
