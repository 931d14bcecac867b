"""Where calls come in of a service whose calls in flight are limited.

Each call has a ticket from before its first attempt until its end, however many attempts there
are. Who finds no room waits in line, within bounds, and is let in by whoever leaves. Calls of
services without limits come nowhere near. Shared by threads and asyncio; knows no gRPC.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshlb.model import CallLimits, Table
from meshlb.policy import admission

if TYPE_CHECKING:
    from meshlb.client.routes import Routes

log = logging.getLogger("meshlb.client")
TELL_EVERY_S = 10.0
"""Calls that are shed are logged this often at the most."""
KEY = "meshlb-priority"
"""Metadata key in which a call names its class."""
DEFAULT_CLASS = "default"
ENDS_KEPT = 16
"""Calls that ended last, of which it follows how long the next ones wait."""


class Ticket:
    """One call's right to run, or its place in the line."""

    __slots__ = ("gate", "inside", "kind", "refusal", "waits", "wake")

    def __init__(self, gate: Gate, kind: str, wake: Callable[[Ticket], None]) -> None:
        self.gate = gate
        self.kind = kind
        self.wake = wake
        """Told once, from any thread, when one that waits is let in or loses its place."""
        self.inside = False
        self.waits = False
        """It had to wait when it came, so that ``wake`` will tell what became of it."""
        self.refusal: str | None = None
        """Why there is no room for it; None: it is in or waits."""

    def leave(self, now: float) -> None:
        """Give back what it has; twice does no harm."""
        self.gate.leave(self, now)


class Gate:
    """Of one Routes. Safe to call from any thread."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._lock = routes.lock
        self._limits: CallLimits | None = None
        self._floors: tuple[float, ...] = (0.0,)
        self._places: dict[str, int] = {}
        """Place of each class, the most important first."""
        self._other = 0
        """Place of calls that name no class that there is."""
        self._usable = 0
        """Nodes of the table that take calls."""
        self._admitted: float | None = None
        self._inside: dict[str, int] = {}
        self._lines: dict[str, dict[Ticket, None]] = {}
        self._shed = 0
        """Calls, since that was last told."""
        self._told_at = -TELL_EVERY_S
        self._ended_at: deque[float] = deque(maxlen=ENDS_KEPT)
        """While somebody waits."""

    def take(self, table: Table | None) -> Gate | None:
        """Take the limits of a new table; return None if calls are not limited.

        To be called under the lock; ``look`` follows without it.
        """
        limits = None if table is None else table.limits
        self._limits = limits
        self._routes.client.per_node = None if limits is None else limits.per_node
        if table is None or limits is None:
            return None
        self._usable = admission.usable(node.state for node in table.nodes)
        classes = limits.priorities
        self._floors = tuple(one.floor for one in classes) or (0.0,)
        self._places = {one.name: place for place, one in enumerate(classes)}
        self._other = self._places.get(DEFAULT_CLASS, len(self._floors) - 1)
        return self

    def admit(self, admitted: float | None) -> None:
        """Take this client's part of the limit, as the controller says."""
        with self._lock:
            if admitted is None or admitted == self._admitted:
                return
            self._admitted = admitted
        self.look()

    @property
    def limit(self) -> int | None:
        """The calls that this client may have in flight now, one at the least; None: any."""
        limits = self._limits
        if limits is None:
            return None
        capacity = limits.capacity(self._usable)
        if capacity is None:
            return None
        part = capacity / limits.clients if self._admitted is None else self._admitted
        return max(1, int(min(part, capacity)))

    def enter(
        self, kind: str, deadline: float | None, now: float, wake: Callable[[Ticket], None]
    ) -> Ticket:
        """Return a ticket: it is inside, waits, or has a ``refusal``."""
        with self._lock:
            ticket = Ticket(self, kind if kind in self._places else DEFAULT_CLASS, wake)
            self._line(ticket)[ticket] = None
            self._routes.waiting += 1
            woken = self._let_in()
            if not ticket.inside:
                ticket.waits = True
                woken += self._bound(ticket, deadline, now)
                if ticket.refusal is not None:
                    ticket.waits = False
        shed = next((one.refusal for one in (ticket, *woken) if one.refusal is not None), None)
        if shed is not None:
            self._log(shed, now)
        self._tell(one for one in woken if one is not ticket)
        return ticket

    def leave(self, ticket: Ticket, now: float) -> None:
        """Let a call go, and the next ones in."""
        with self._lock:
            if ticket.inside:
                ticket.inside = False
                self._inside[ticket.kind] -= 1
                if any(self._lines.values()):
                    self._ended_at.append(now)
            else:
                self._drop(ticket)
            woken = self._let_in()
        self._tell(woken)

    def look(self) -> None:
        """Let in who may go in now: limits or nodes changed."""
        with self._lock:
            woken = self._let_in()
        self._tell(woken)

    # --- under the lock --------------------------------------------------------------------

    def _line(self, ticket: Ticket) -> dict[Ticket, None]:
        return self._lines.setdefault(ticket.kind, {})

    def _drop(self, ticket: Ticket) -> bool:
        if ticket not in self._line(ticket):
            return False
        del self._line(ticket)[ticket]
        self._routes.waiting -= 1
        return True

    def _by_class(self, counts: dict[str, int]) -> list[int]:
        found = [0] * len(self._floors)
        for kind, count in counts.items():
            found[self._places.get(kind, self._other)] += count
        return found

    def _waiting(self) -> list[int]:
        return self._by_class({kind: len(line) for kind, line in self._lines.items()})

    def _of_class(self, place: int, last: bool) -> Ticket:
        """Return the first or the last that waits of a class in which somebody does."""
        lines = [
            line
            for kind, line in self._lines.items()
            if line and self._places.get(kind, self._other) == place
        ]
        return next(reversed(lines[-1])) if last else next(iter(lines[0]))

    def _let_in(self) -> list[Ticket]:
        let_in = []
        while any(self._lines.values()):
            limit, waiting = self.limit, self._waiting()
            place = next(at for at, count in enumerate(waiting) if count)
            if limit is not None:
                running = self._by_class(self._inside)
                found = admission.next_kind(running, waiting, limit, self._floors)
                if found is None:
                    break
                place = found
            ticket = self._of_class(place, last=False)
            self._drop(ticket)
            ticket.inside = True
            self._inside[ticket.kind] = self._inside.get(ticket.kind, 0) + 1
            let_in.append(ticket)
        else:
            self._ended_at.clear()
        return let_in

    def _bound(self, ticket: Ticket, deadline: float | None, now: float) -> list[Ticket]:
        """Keep the line within its bounds; return who loses a place to one that just came."""
        limits = self._limits
        if limits is None:
            return []
        waiting, place = self._waiting(), self._places.get(ticket.kind, self._other)
        waiting[place] -= 1  # itself
        shed = admission.shed_kind(place, waiting, limits.waiting)
        if shed is not None:
            loser = ticket if shed == place else self._of_class(shed, last=True)
            loser.refusal = self._full(limits, sum(waiting))
            self._drop(loser)
            return [loser]
        wait_s = admission.expected_wait_s(sum(waiting[: place + 1]), self._ended_at, now)
        if deadline is not None and wait_s is not None and now + wait_s > deadline:
            ticket.refusal = (
                f"{self._full(limits, sum(waiting))}; it would wait for about {wait_s:.3g} s, "
                f"and has {max(0.0, deadline - now):.3g} s left"
            )
            self._drop(ticket)
        return []

    def _full(self, limits: CallLimits, waiting: int) -> str:
        names = ("max_in_flight", limits.in_flight), ("max_in_flight_per_node", limits.per_node)
        said = " and ".join(f"{name} = {value}" for name, value in names if value is not None)
        return (
            f"no room: service {self._routes.service!r} has {said}, of which this client may have "
            f"{self.limit} calls in flight, and has {sum(self._inside.values())}; {waiting} calls "
            f"wait, of at most max_waiting = {limits.waiting}. Call less, add nodes, or raise the "
            "limit in the controller's configuration"
        )

    def _log(self, refusal: str, now: float) -> None:
        self._shed += 1
        if now - self._told_at >= TELL_EVERY_S:
            log.warning("a call was shed, one of %d since that was last said: %s",
                        self._shed, refusal)  # fmt: skip
            self._shed, self._told_at = 0, now

    @staticmethod
    def _tell(woken: Any) -> None:
        for ticket in woken:
            if ticket.waits:
                ticket.wake(ticket)


def class_of(metadata: Any, default: str) -> str:
    """Return the class that a call names in its metadata."""
    if not metadata or not hasattr(metadata, "__len__"):  # an iterator can be read once only
        return default
    return next((str(value) for key, value in metadata if key == KEY), default)
