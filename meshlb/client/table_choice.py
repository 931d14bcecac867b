"""Which table a client goes by: a controller that knows less takes nothing from what it has.

A controller may have just started, be cut off from the sidecars, or be asked for the first time.
What it says is held against what the client sees for itself: a node that it is connected to is
there, whatever a table without nodes says.
"""

from __future__ import annotations

import threading

from meshlb import table_wire
from meshlb.client.node import LinkState
from meshlb.client.routes import Routes
from meshlb.model import NodeState, Table


def refusal(current: Table | None, new: Table, connected: int = 0) -> str | None:
    """Return why a client that has ``current`` does not take ``new``; None: it does.

    Within one start of one controller versions only grow. Another controller's table must be
    complete, so that one that has just started takes nothing from what the client has. One without
    nodes is not taken while the client is ``connected`` to some that do not drain.
    """
    if current is None:
        return None
    if (new.controller_id, new.epoch) == (current.controller_id, current.epoch):
        if new.version < current.version:
            return f"version {new.version} is older than {current.version}"
    elif not new.complete:
        return f"{table_wire.NOT_COMPLETE}; the last controller's table stays"
    if connected and not new.nodes:
        return f"no nodes, while {connected} of the last table's are connected; that one stays"
    return None


class TableChoice:
    """Takes tables for one Routes, and holds one without nodes until none is connected."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._lock = threading.Lock()
        self._held: Table | None = None

    def take(self, table: Table) -> str:
        """Apply a table; return why not, "" if it was."""
        with self._lock:
            why = refusal(self._routes.table, table, self._connected()) or ""
            self._held = None
            if not why:
                self._routes.apply_table(table)
            elif not table.nodes and not refusal(self._routes.table, table):
                self._held = table
                # Whoever finds all nodes of the last table gone waits, as this one would have it.
                self._routes.starting = True
            return why

    def look(self) -> None:
        """Apply the table that is held, if there is one, once no node is connected any more."""
        if self._held is None:
            return
        with self._lock:
            held = self._held
            if held is not None and not self._connected():
                self._held = None
                self._routes.apply_table(held)

    def drop(self) -> None:
        """Forget what is held: the controller that said it has gone."""
        with self._lock:
            self._held = None

    def _connected(self) -> int:
        routes = self._routes
        with routes.lock:
            return sum(
                node.link_state is LinkState.READY and node.info.state is not NodeState.DRAINING
                for node in routes.nodes.values()
            )
