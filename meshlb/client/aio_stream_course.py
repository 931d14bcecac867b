"""The course of an asyncio call with a stream of requests.

What gRPC says of such a call cannot be taken as it is: it puts INTERNAL over the status of one
whose end meets a write, and tells the true one later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import grpc.aio

from meshlb.client.aio_course import AioCourse, AioMethod, Arguments, now_of
from meshlb.client.aio_replay import AioReplay
from meshlb.client.node import Node
from meshlb.client.retry import Again
from meshlb.client.tries import Tries
from meshlb.client.waiting import NoNodeError

UNMASKED_AFTER_S = (0.0, 0.0, 0.001, 0.004, 0.016, 0.064, 0.25, 0.5, 1.0)
"""How long to wait for a broken stream's status; it is mostly there at the second look."""
LOOK_AGAIN_S = 0.05


async def _send(inner: Any, requests: AsyncGenerator[Any]) -> None:
    """Write the requests to an attempt, whose end tells all that may go wrong.

    An iterator given to gRPC would have the call cancelled if its end meets the last request.
    """
    over = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)
    try:
        async with contextlib.aclosing(requests):
            async for request in requests:
                try:
                    await inner.write(request)
                except over:
                    return
        with contextlib.suppress(*over):
            await inner.done_writing()
    except asyncio.CancelledError:
        raise
    except BaseException:  # the caller's requests raised, or cannot be turned into bytes
        inner.cancel()


def _masked(inner: Any) -> bool:
    """Return whether gRPC has put its own failure to write in the place of the true status.

    It does so where a stream of requests meets the end of the call; the true status follows, once
    all responses have been read.
    """
    return (
        now_of(inner.code()) is grpc.StatusCode.INTERNAL
        and now_of(inner.details()) == "Internal error from Core"
        and str(now_of(inner.debug_error_string())).startswith('Failed "execute_batch"')
    )


class StatusError(NoNodeError):
    """The status of a stream of requests as it was at its end: gRPC may put another there later."""

    def __init__(self, inner: Any) -> None:
        super().__init__(now_of(inner.code()), now_of(inner.details()))
        self._debug = now_of(inner.debug_error_string())
        self._metadata = tuple(
            tuple(now_of(found) or ())
            for found in (inner.initial_metadata(), inner.trailing_metadata())
        )

    def debug_error_string(self) -> str:
        """Return gRPC's own words."""
        return str(self._debug)

    def initial_metadata(self) -> tuple[Any, ...]:
        """Return the node's."""
        return self._metadata[0]

    def trailing_metadata(self) -> tuple[Any, ...]:
        """Return the node's."""
        return self._metadata[1]


class AioStreamCourse(AioCourse):
    """State of one call whose requests are a stream; for one event loop."""

    __slots__ = ("_responses", "_sending", "_unmasking", "replay")

    def __init__(
        self, method: AioMethod, request: Any, timeout: float | None, args: Arguments
    ) -> None:
        self.replay: AioReplay = AioReplay(request)
        self._responses: tuple[Any, AsyncIterator[Any]] | None = None
        """gRPC's call, and its responses."""
        self._sending: asyncio.Task[None] | None = None
        """Gives the requests to the attempt that runs."""
        self._unmasking: Any = None
        """gRPC's call whose true status is not there yet."""
        super().__init__(method, None, timeout, args)

    def _begin(self, node: Node, now: float) -> Any:
        inner = super()._begin(node, now)
        self._sending = self.method.loop.create_task(_send(inner, self.replay.reader()))
        return inner

    def answered(self) -> None:
        """Take note that the attempt that runs, if any, ended well."""
        self.complete = True  # gRPC may still put its own failure to write over that
        super().answered()

    def _failed(self, inner: Any, attempt: tuple[Node, float], code: grpc.StatusCode) -> bool:
        if _masked(inner):
            if self._unmasking is not inner:
                self._unmasking = inner
                self._task = self.method.loop.create_task(self._unmask(inner, attempt))
            return True
        return super()._failed(inner, attempt, code)

    async def _unmask(self, inner: Any, attempt: tuple[Node, float]) -> None:
        """Wait for the true status of an attempt that gRPC could not write to any more."""
        for delay_s in UNMASKED_AFTER_S:
            await asyncio.sleep(delay_s)
            if not _masked(inner):
                break
        else:
            # Responses that nobody has read yet hold it back: who still writes is told to stop.
            self.replay.stop()
            self._wake()
            while _masked(inner):  # noqa: ASYNC110 - gRPC tells nobody when it changes
                await asyncio.sleep(LOOK_AGAIN_S)
        self._unmasking = None
        if self._attempt is not attempt:
            return
        if now_of(inner.code()) is grpc.StatusCode.OK:
            self.attempt_done(inner)
        else:
            super()._failed(inner, attempt, now_of(inner.code()))
        self._wake()

    def _final(self, tries: Tries, again: Again | None, inner: Any) -> NoNodeError | None:
        failure = super()._final(tries, again, inner)
        if failure is None and not tries.complete:
            return StatusError(inner)
        return failure

    def _can_repeat(self) -> bool:
        return self.replay.replayable

    def took(self, message: Any) -> None:
        """Note that a message has reached the caller."""
        super().took(message)
        self.replay.commit()

    def _end(self, failure: NoNodeError | None = None) -> None:
        self.replay.stop()
        super()._end(failure)

    async def decided(self, inner: Any, *, drained: bool = True) -> None:
        """Wait until the true status of an attempt is known; at once where gRPC told that."""
        while self._unmasking is inner and not self.ended:
            if not drained and self.replay.stopped:
                return
            await self._change()

    async def next_of(self, inner: Any) -> Any:
        """Return the next response of an attempt with a stream of requests, or grpc.aio.EOF.

        ``inner.read`` would end where gRPC masks the status, though responses are still there.
        """
        if self.ended:
            return await inner.read()
        if self._responses is None or self._responses[0] is not inner:
            self._responses = inner, aiter(inner)
        return await anext(self._responses[1], grpc.aio.EOF)
