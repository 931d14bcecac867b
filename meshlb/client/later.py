"""Does things a little later, in one thread for all channels that share one Routes."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("meshlb.client")
_now = time.perf_counter


class Due:
    """Something to be done later, unless it is called off before."""

    __slots__ = ("_order", "what")

    def __init__(self, at: float, number: int, what: Callable[[], None]) -> None:
        self._order = (at, number)
        self.what: Callable[[], None] | None = what

    def __lt__(self, other: Due) -> bool:
        return self._order < other._order

    @property
    def at(self) -> float:
        """When; of ``time.perf_counter``."""
        return self._order[0]

    def call_off(self) -> None:
        """Do not do it, and let go of what it holds."""
        self.what = None


class Later:
    """Safe to call from any thread. Its own thread ends when there is nothing left to do."""

    def __init__(self, name: str) -> None:
        self._name = f"meshlb {name}: later"
        self._changed = threading.Condition()
        self._due: list[Due] = []
        self._number = itertools.count()
        self._running = False

    def do(self, delay_s: float, what: Callable[[], None]) -> Due:
        """Call ``what`` after so many seconds."""
        due = Due(_now() + delay_s, next(self._number), what)
        with self._changed:
            heapq.heappush(self._due, due)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif self._due[0] is due:
                self._changed.notify()
        return due

    def close(self) -> None:
        """Do nothing more."""
        with self._changed:
            self._due.clear()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._running = False
                    return
                due = self._due[0]
                wait_s = due.at - _now()
                if wait_s > 0 and due.what is not None:
                    self._changed.wait(wait_s)
                    continue
                what = heapq.heappop(self._due).what
            if what is None:
                continue
            try:
                what()
            except Exception:
                log.exception("what was to be done later failed")
