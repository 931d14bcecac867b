"""Requests of a streaming call that can be read again from the start, until the call commits.

gRPC reads a request iterator from a thread of its own, before a connection is known to work, so a
start that is refused would lose what was read. Items are kept until the first answer, or until
there are too many of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

MOST_KEPT = 1000
"""Requests kept for another try; a call that has sent more of them is not tried again."""


class Replay:
    """The caller's requests; each attempt reads them through its own ``reader``."""

    def __init__(self, requests: Iterable[Any]) -> None:
        self._source = iter(requests)
        self._kept: list[Any] = []
        self._dropped = 0
        """Items at the front that are no longer kept."""
        self._committed = False
        self._pulling = False
        self._end: BaseException | None = None
        self._moved = threading.Condition()
        self._current = 0

    @property
    def replayable(self) -> bool:
        """Whether another attempt could still read all from the start."""
        return self._dropped == 0

    def commit(self) -> None:
        """Keep nothing from now on: there will be no other attempt."""
        with self._moved:
            self._committed = True

    def reader(self) -> Iterator[Any]:
        """Return an iterator from the start for a new attempt; older readers end."""
        with self._moved:
            self._current += 1
            self._moved.notify_all()
            return self._read(self._current)

    def _read(self, number: int) -> Iterator[Any]:
        at = 0
        item: Any = None
        while True:
            with self._moved:
                while self._pulling and number == self._current and not self._have(at):
                    self._moved.wait()
                if number != self._current:
                    return
                found = self._have(at)
                if found:
                    item = self._kept[at - self._dropped]
                    at += 1
                    self._trim(at)
                elif isinstance(self._end, StopIteration):
                    return
                elif self._end is not None:
                    raise self._end
                else:
                    self._pulling = True
            if found:
                yield item
            else:
                self._pull()

    def _have(self, at: int) -> bool:
        return at < self._dropped + len(self._kept)

    def _pull(self) -> None:
        """Take one item from the caller, outside of the lock since it may block."""
        item, end = None, None
        try:
            item = next(self._source)
        except BaseException as error:  # handed on to whoever reads
            end = error
        with self._moved:
            self._pulling = False
            if end is None:
                self._kept.append(item)
            else:
                self._end = end
            self._moved.notify_all()

    def _trim(self, read_to: int) -> None:
        if self._committed or len(self._kept) > MOST_KEPT:
            drop = read_to - self._dropped
            del self._kept[:drop]
            self._dropped += drop
