"""Where futures and streams wait for a node, or for the end of a back-off: one thread for all.

For threads only; in asyncio a waiting call is a task, and a blocking call waits in its own thread.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from meshlb.client.routes import Routes

_now = time.perf_counter
_NEVER = float("inf")


class Course(Protocol):
    """A call that can wait here."""

    deadline: float | None
    ended: bool

    def look_again(self) -> bool:
        """Go on if that can be now; return whether the call has left, begun or ended."""


class _Place:
    """One call's place: when it is due, and what it saw last."""

    __slots__ = ("due_at", "seen")

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        """End of its back-off."""
        self.seen = -1
        """Generation of the routes at its last look; -1: none yet."""


class WaitingRoom:
    """The waiting calls of all channels that share one Routes. Safe to call from any thread."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._places: dict[Course, _Place] = {}
        self._running = False

    def enter(self, course: Course, delay_s: float) -> None:
        """Let a call wait for ``delay_s``, then for a node; without delay it counts as waiting."""
        routes = self._routes
        with routes.lock:
            self._places[course] = place = _Place(_now() + delay_s if delay_s > 0 else 0.0)
            if place.due_at == 0.0:
                routes.waiting += 1
            if self._running:
                routes.changed.notify_all()
                return
            self._running = True
        name = f"meshlb {routes.service}: waiting calls"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def leave(self, course: Course) -> None:
        """Let a call go that began or ended; nothing if it is not here."""
        with self._routes.lock:
            place = self._places.pop(course, None)
            if place is not None and place.due_at == 0.0:
                self._routes.waiting -= 1

    def _run(self) -> None:
        while True:
            due = self._wait()
            if due is None:
                return
            for course, place in due:
                gone = course.look_again()  # it may fail at once, and so enter again meanwhile
                with self._routes.lock:
                    if gone or course.ended:
                        self._routes.waiting -= 1
                    else:
                        self._places[course] = place

    def _wait(self) -> list[tuple[Course, _Place]] | None:
        """Wait until some are due, and take them out; None once nobody is here."""
        routes = self._routes
        with routes.lock:
            while True:
                if not self._places:
                    self._running = False
                    return None
                now = _now()
                due: list[tuple[Course, _Place]] = []
                next_at = _NEVER
                for course, place in self._places.items():
                    deadline = _NEVER if course.deadline is None else course.deadline
                    if place.due_at > now < deadline:
                        next_at = min(next_at, place.due_at, deadline)
                    elif place.seen != routes.generation or now >= deadline:
                        due.append((course, place))
                        place.seen = routes.generation
                        if place.due_at > 0.0:
                            place.due_at = 0.0
                            routes.waiting += 1
                    else:
                        next_at = min(next_at, deadline)
                if due:
                    for course, _ in due:
                        del self._places[course]
                    return due
                routes.changed.wait(None if next_at == _NEVER else max(0.0, next_at - now))
