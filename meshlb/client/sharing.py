"""One Routes and one Subscription for all channels of a process (and loop) that want the same.

Reference counted: the first call through any of them subscribes, the last close ends it. After a
fork the child begins anew: threads and connections stay behind in the parent, so every group is
emptied, and its next call subscribes again.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from meshlb.client.later import Later
from meshlb.client.node import Link, Node
from meshlb.client.options import UNSET, Options
from meshlb.client.rotation import Rotation
from meshlb.client.routes import Routes
from meshlb.client.subscription import Subscription
from meshlb.client.target import Target
from meshlb.client.waiting_room import WaitingRoom
from meshlb.security.client_tls import Credentials, Tls

Opener = Callable[[Routes, Node], Link]


class Group:
    """What channels share. Its methods may be called from any thread."""

    def __init__(
        self,
        key: Any,
        target: Target,
        opener: Opener,
        credentials: tuple[Any, Any],
        zone: str,
        run: Callable[[Callable[[], None]], object],
    ) -> None:
        """``credentials`` are for nodes and for controllers; ``run`` runs where links belong."""
        self.key = key
        self._methods: weakref.WeakSet[Any] = weakref.WeakSet()
        self.routes = Routes(target.service, _client_id(), opener)
        self.room = WaitingRoom(self.routes)
        self.later = Later(target.service)
        self.users = 0
        self._target = target
        self._credentials = credentials
        self._run = run
        self.rotation: Rotation | None = None
        self._zone = zone
        self._released = False
        self._lock = threading.RLock()  # a dropped channel may be collected within ``open``
        self._subscription: Subscription | None = None

    @property
    def opened(self) -> bool:
        """Whether a call has subscribed."""
        return self._subscription is not None

    def open(self) -> None:
        """Subscribe, unless that is done already, or the last channel was closed meanwhile."""
        if self._subscription is not None:
            return
        with self._lock:
            if self._subscription is None and not self._released:
                subscription = Subscription(
                    self.routes, self._target, self._credentials[1], self._zone
                )
                if Rotation.wanted(*self._credentials):
                    self.rotation = Rotation(
                        self.routes, subscription, self._credentials, self._by_link, self._run
                    )
                    self.rotation.start()
                self._subscription = subscription
                subscription.start()

    def release(self) -> None:
        """Let go for one channel; the last one ends subscription and links."""
        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            _groups.pop(self.key, None)
        with self._lock:
            self._released = True
            rotation, subscription = self.rotation, self._subscription
        if rotation is not None:
            rotation.close()
        if subscription is not None:
            subscription.close()
        self.later.close()
        self.routes.close()

    def register(self, method: Any) -> None:
        """Know a method, whose ``by_link`` holds what was made of links."""
        with self._lock:
            self._methods.add(method)

    def _by_link(self) -> list[dict[Any, Any]]:
        with self._lock:
            return [method.by_link for method in self._methods]

    def forked(self) -> None:
        """Begin anew in a child process."""
        self._lock = threading.RLock()
        self._subscription = None
        self.rotation = None
        for one in self._credentials:
            if isinstance(one, Tls):
                one.forked()
        self.routes.forget_all(_client_id())
        self.room = WaitingRoom(self.routes)
        self.later = Later(self._target.service)


_lock = threading.RLock()  # a dropped channel may be collected, and so released, within join
_groups: dict[Any, Group] = {}
_all: weakref.WeakSet[Group] = weakref.WeakSet()


def join(
    target: Target, credentials: Credentials | None, options: Options, kind: Any,
    opener: Opener,
) -> Group:  # fmt: skip
    """Return the group of a channel; ``kind`` tells threads from each event loop."""
    loop = kind[0]
    run = getattr(loop, "call_soon_threadsafe", _at_once)
    own = options.controller_credentials
    controller_credentials = credentials if own is UNSET else own
    key = (
        target, id(credentials), id(controller_credentials), repr(options.node_options),
        options.zone, kind,
    )  # fmt: skip
    with _lock:
        group = _groups.get(key)
        if group is None:
            both = credentials, controller_credentials
            group = _groups[key] = Group(key, target, opener, both, options.zone, run)
            _all.add(group)
        group.users += 1
        return group


def _at_once(step: Callable[[], None]) -> None:
    step()


def _client_id() -> str:
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent's may be held for ever by a thread left behind
    _lock = threading.RLock()
    for group in list(_all):
        group.forked()


os.register_at_fork(after_in_child=_after_fork)
