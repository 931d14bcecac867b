"""Multi-callables of streaming methods, for threads; their calls are ``RunningCall``."""

from __future__ import annotations

from typing import Any

import grpc

from meshlb.client.course import Course
from meshlb.client.method import Method
from meshlb.client.running_call import RunningCall


class _Streaming:
    __slots__ = ("_method",)
    _course: type[Course] = Course

    def __init__(self, method: Method) -> None:
        self._method = method

    def _begin(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        args = (metadata, credentials, wait_for_ready, compression)
        return RunningCall.begin(self._method, request, timeout, args, self._course)


class UnaryStream(_Streaming, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """A drop-in for the multi-callable of ``grpc.Channel.unary_stream``."""

    def __call__(self, request: Any, *args: Any, **named: Any) -> Any:
        """Begin the call, and return an iterator over the responses."""
        return self._begin(request, *args, **named)


class StreamStream(_Streaming, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """A drop-in for the multi-callable of ``grpc.Channel.stream_stream``."""

    def __call__(self, request_iterator: Any, *args: Any, **named: Any) -> Any:
        """Begin the call, and return an iterator over the responses."""
        return self._begin(request_iterator, *args, **named)


class StreamUnary(_Streaming, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """A drop-in for the multi-callable of ``grpc.Channel.stream_unary``."""

    def __call__(self, request_iterator: Any, *args: Any, **named: Any) -> Any:
        """Call, and return the response."""
        return self._wait(request_iterator, *args, **named)[0]

    def with_call(self, request_iterator: Any, *args: Any, **named: Any) -> Any:
        """Call, and return (response, call)."""
        return self._wait(request_iterator, *args, **named)

    def future(self, request_iterator: Any, *args: Any, **named: Any) -> Any:
        """Begin the call, and return its future."""
        return self._begin(request_iterator, *args, **named)

    def _wait(self, request_iterator: Any, *args: Any, **named: Any) -> tuple[Any, Any]:
        call = self._begin(request_iterator, *args, **named)
        try:
            error = call.exception()
        except grpc.FutureCancelledError:  # the channel was closed
            error = call._course.settled()
        if error is not None:
            raise error
        return call.result(), call
