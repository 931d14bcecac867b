"""The course of a hedged response stream, for threads: two attempts until one has a message.

The time to wait counts from when the caller begins to read. The first attempt is read by the
caller's thread; one that is made beside it is read by a thread of its own, up to its first message.
After a message has come nothing is hedged.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc

from meshlb.client.hedged_course import HedgedCourse
from meshlb.client.node import Node, Outcome
from meshlb.client.stream_call import UnaryStream

_now = time.perf_counter
_NONE: Any = object()


class _Ahead:
    """gRPC's call of a stream whose first message is read ahead; reads like the call itself."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._read = threading.Event()
        self._first = _NONE
        self._ended: BaseException | None = None

    def read(self) -> bool:
        """Wait for the first message; return whether there is one."""
        try:
            self._first = next(self._call)
        except (StopIteration, grpc.RpcError) as ended:
            self._ended = ended
        self._read.set()
        return self._ended is None

    def __next__(self) -> Any:
        self._read.wait()
        if self._ended is not None:
            raise self._ended
        if self._first is _NONE:
            return next(self._call)
        first, self._first = self._first, _NONE
        return first

    def add_done_callback(self, callback: Any) -> None:
        """Call ``callback`` at the end with this, not with the call."""
        self._call.add_done_callback(lambda _: callback(self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class HedgedStreamCourse(HedgedCourse):
    """One call of one request and many responses."""

    _from_begin = False
    _wanted = False
    """Somebody reads."""

    def next_message(self) -> Any:
        """Return the next message of the answer; StopIteration or grpc.RpcError at its end."""
        if self._delivered:
            return super().next_message()
        if not self._wanted:
            self._wanted = True
            self._hedge_later()
        try:
            return super().next_message()
        finally:
            self._call_other_off()

    def _hedge_later(self) -> None:
        if self.inner is not None and not self._delivered:
            super()._hedge_later()

    def _begin(self, node: Node) -> None:
        super()._begin(node)
        if self._wanted:
            self._hedge_later()

    def _ask(self, node: Node, left_s: float | None) -> Any:
        metadata, credentials, _, compression = self._args
        ask = self.method.on(node)
        return _Ahead(ask(self._request, left_s, metadata, credentials, False, compression))

    def _asked(self, other: _Ahead) -> None:
        def read() -> None:
            if other.read():
                self._other_answered(other)

        name = f"meshlb {self.method.name}: second attempt"
        threading.Thread(target=read, name=name, daemon=True).start()

    def _other_answered(self, other: _Ahead) -> None:
        """Go on with the second attempt, if its first message is the first of the call."""
        now = _now()
        with self.changed:
            beside, first = self._other, self._attempt
            if beside is None or beside[2] is not other or first is None or self._delivered:
                return
            self._other = None
            self._attempt = beside[:2]
            slow, self.inner = self.inner, other
        self.method.routes.end(first[0], now - first[1], Outcome.CANCELLED, now)
        self.method.routes.outrun(first[0], now)
        slow.cancel()

    def _took(self, message: Any) -> None:
        attempt, hedge = self._attempt, self.method.hedge
        if not self._delivered and attempt is not None and hedge is not None:
            hedge.observe(_now() - attempt[1])
        super()._took(message)

    def _answered(self, latency_s: float) -> None:
        """Take no note of it: what counts is the first message."""


class HedgedUnaryStream(UnaryStream):
    """The multi-callable of a method with a ``hedgingPolicy``."""

    __slots__ = ()
    _course = HedgedStreamCourse
