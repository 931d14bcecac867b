"""What the caller holds of a call that runs meanwhile, for threads: future and response stream."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Self

import grpc

from meshlb.client.course import Course
from meshlb.client.method import Method

_now = time.perf_counter


class RunningCall(grpc.RpcError, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """What the caller holds: a call, a future, and for streams an iterator, as gRPC's own is."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self._course = course

    @classmethod
    def begin(
        cls, method: Method, request: Any, timeout: float | None, args: tuple[Any, ...],
        course: type[Course] = Course,
    ) -> Self:  # fmt: skip
        """Start a call; ``args`` are metadata, credentials, wait_for_ready, compression."""
        call = cls(course(method, request, timeout, args))
        method.calls.add(call)
        call._course.start()
        return call

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        with contextlib.suppress(Exception):  # half made
            self._course.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._course.next_message()

    next = __next__

    def initial_metadata(self) -> Any:
        """Wait for the node's initial metadata."""
        while True:
            inner = self._course.current()
            found = inner.initial_metadata()
            if not inner.is_active() and self._course.attempt_done(inner):
                continue  # it went on elsewhere, and there it will be known
            if self._course.inner is inner or self._course.ended:
                return found

    def trailing_metadata(self) -> Any:
        """Wait for the end; return its trailing metadata."""
        return self._course.settled().trailing_metadata()

    def code(self) -> Any:
        """Wait for the end; return its status."""
        return self._course.settled().code()

    def details(self) -> Any:
        """Wait for the end; return its text."""
        return self._course.settled().details()

    def debug_error_string(self) -> Any:
        """Wait for the end; return gRPC's own words on it."""
        return self._course.settled().debug_error_string()

    def is_active(self) -> bool:
        """Return whether it has not ended."""
        return not self._course.ended

    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Return seconds to its deadline; None: it has none."""
        deadline = self._course.deadline
        return None if deadline is None else max(0.0, deadline - _now())

    def cancel(self) -> bool:
        """End it."""
        return self._course.cancel()

    def cancelled(self) -> bool:
        """Return whether the caller cancelled it."""
        return self._course.cancelled

    def running(self) -> bool:
        """Return whether it has not ended."""
        return not self._course.ended

    def done(self) -> bool:
        """Return whether it has ended."""
        return self._course.ended

    def add_callback(self, callback: Any) -> bool:
        """Call back at the end; False if that is past, and nothing is called."""
        course = self._course
        with course.changed:
            if course.ended:
                return False
            course.callbacks.append(callback)
            return True

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn(self)`` at the end, or now; keeps the call alive until then, as gRPC does."""
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end; return the response, or raise what it ended with."""
        return self._outcome("result", timeout)

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the end; return what it ended with, None for OK."""
        return self._outcome("exception", timeout)

    def traceback(self, timeout: float | None = None) -> Any:
        """Wait for the end; return the traceback of what it ended with."""
        return self._outcome("traceback", timeout)

    def _outcome(self, what: str, timeout: float | None) -> Any:
        last = self._course.settled(timeout)
        if self._course.cancelled and last.code() is grpc.StatusCode.CANCELLED:
            raise grpc.FutureCancelledError
        return getattr(last, what)()

    def __str__(self) -> str:
        course = self._course
        if course.ended:
            return str(course.error if course.error is not None else course.inner)
        return f"<meshlb: call of {course.method.name} that runs>"

    __repr__ = __str__
