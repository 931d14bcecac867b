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


class Later:
    """Safe to call from any thread. Its own thread ends when there is nothing left to do."""

    def __init__(self, name: str) -> None:
        self._name = f"meshlb {name}: later"
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._running = False

    def do(self, delay_s: float, what: Callable[[], None]) -> None:
        """Call ``what`` after so many seconds."""
        entry = (_now() + delay_s, next(self._number), what)
        with self._changed:
            heapq.heappush(self._due, entry)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif self._due[0] is entry:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._running = False
                    return
                wait_s = self._due[0][0] - _now()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                what = heapq.heappop(self._due)[2]
            try:
                what()
            except Exception:
                log.exception("what was to be done later failed")
