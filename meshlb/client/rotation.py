"""New certificates in a running client: new links beside the old ones, and then in their place.

Only channels with ``meshlb.tls`` have one of these: a daemon thread that looks at the files once a
second. Each node's link goes on until its successor is connected; the old one takes no new calls
from then on, and is closed by gRPC when its last call has ended and nobody holds it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from meshlb.client.node import Node
from meshlb.client.routes import Routes
from meshlb.client.subscription import Subscription
from meshlb.model import NodeState
from meshlb.security.client_tls import Tls

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0


class Successor(Protocol):
    """A link, as far as it can take another's place."""

    def succeed(self, ready: Callable[[], None]) -> None:
        """Begin to connect; call ``ready`` once connected, and nobody before."""

    def retire(self) -> None:
        """Say nothing of the node any more; leave the channel to the calls that run on it."""

    def close_soon(self) -> None:
        """Let go of the connection without waiting."""


class Rotation:
    """Follows the credentials of one group of channels."""

    def __init__(
        self,
        routes: Routes,
        subscription: Subscription,
        credentials: tuple[Any, Any],
        forget: Callable[[], Iterable[dict[Any, Any]]],
        run: Callable[[Callable[[], None]], object],
    ) -> None:
        """``credentials`` are those for nodes and for controllers.

        ``forget`` gives the tables of what was made of links; ``run`` runs where links belong.
        """
        nodes, controllers = (c if isinstance(c, Tls) else None for c in credentials)
        self._nodes, self._controllers = nodes, controllers
        self._routes = routes
        self._subscription = subscription
        self._tables = forget
        self._run = run
        self._seen = _generation(nodes), _generation(controllers)
        self._pending: dict[Node, Any] = {}
        """Links that are ``Successor``s."""
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @staticmethod
    def wanted(*credentials: Any) -> bool:
        """Return whether there is anything to follow."""
        return any(isinstance(one, Tls) for one in credentials)

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._follow, name="meshlb certificates", daemon=True).start()

    def close(self) -> None:
        """End it; successors that wait are closed."""
        self._stop.set()
        self._let_go(lambda _: True)

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # calls go on with what there is
                log.exception("new certificates could not be taken into use")

    def look(self) -> None:
        """Look at the files now, and follow a change."""
        now = _generation(self._nodes), _generation(self._controllers)
        before = self._seen
        if now[1] != before[1]:
            self._subscription.renew()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if now[0] != before[0]:
                self._run(self._renew_links)
            elif self._pending:
                self._run(self._sweep)
        self._seen = now  # unless that raised: then it is tried again

    def _renew_links(self) -> None:
        """Begin a successor of each link there is."""
        self._let_go(lambda _: True)
        for node in list(self._routes.nodes.values()):
            if node.link is None or node.info.state is NodeState.DRAINING:
                continue
            link = self._routes.successor(node)
            with self._lock:
                if self._stop.is_set():
                    link.close_soon()
                    return
                self._pending[node] = link
            link.succeed(functools.partial(self._take_over, node, link))

    def _take_over(self, node: Node, link: Any) -> None:
        """Put a connected successor in its place."""
        with self._lock:
            if node not in self._pending or self._pending[node] is not link:
                return  # let go of meanwhile
            del self._pending[node]
        old = self._routes.replace_link(node, link)
        if old is None:
            link.close_soon()
            return
        for table in self._tables():
            table.pop(old, None)
        old.retire()
        log.info("node %s: new certificates in use", node.info.node_id)

    def _sweep(self) -> None:
        """Let go of successors whose nodes have gone, or drain."""
        there = set(self._routes.nodes.values())
        self._let_go(
            lambda node: (
                node not in there or node.link is None or node.info.state is NodeState.DRAINING
            )
        )

    def _let_go(self, wanted: Callable[[Node], bool]) -> None:
        with self._lock:
            gone = [node for node in self._pending if wanted(node)]
            links: list[Any] = [self._pending.pop(node) for node in gone]
        for link in links:
            link.close_soon()


def _generation(credentials: Tls | None) -> int:
    return 0 if credentials is None else credentials.current()[0]
