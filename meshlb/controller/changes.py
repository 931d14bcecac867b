"""Changes by RPC: once for each request id, guarded by the etag, told when they are on disk.

One at a time, in a task of its own, so that a caller who leaves midway leaves no half change.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import structlog

from meshlb.controller import audit
from meshlb.controller.intent import Intent
from meshlb.controller.scaling import Scaling
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.controller.store import Answer, Change, Store
from meshlb.errors import ConflictError, InvalidInputError, StateError
from meshlb.scale_wire import check_request_id

log = structlog.get_logger()


class Message(Protocol):
    """A Protobuf message, as far as answers need one."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802
        """Return its bytes."""


M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked(Generic[M]):
    """One request that changes something."""

    call: str
    request: Message
    request_id: str
    answer_type: type[M]
    who: str
    """Who asks, for the audit."""


class Changes:
    """Carries changes out."""

    def __init__(self, store: Store, scaling: Scaling) -> None:
        self._store = store
        self._scaling = scaling
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def of_intent(
        self,
        asked: Asked[M],
        service: str,
        etag: str,
        alter: Callable[[ServiceScaling], Intent],
        answer: Callable[[ServiceScaling], M],
    ) -> M:
        """Change one service's intent; return the answer, or the one that was given before.

        Raises ConflictError STALE_ETAG, NotFoundError, StateError, or what ``alter`` raises.
        """
        return await self._alone(self._of_intent(asked, service, etag, alter, answer))

    async def of_drains(self, asked: Asked[M], make: Callable[[], Change], answer: M) -> bool:
        """Change what is withdrawn; False: this request has done so before.

        Raises StateError, or what ``make`` raises.
        """
        return await self._alone(self._of_drains(asked, make, answer))

    async def _of_intent(
        self,
        asked: Asked[M],
        service: str,
        etag: str,
        alter: Callable[[ServiceScaling], Intent],
        answer: Callable[[ServiceScaling], M],
    ) -> M:
        given = await self._given(asked)
        if given is not None:
            made: M = asked.answer_type.FromString(given)  # type: ignore[attr-defined]
            return made
        one = self._scaling.known(service)
        if etag and etag != one.etag:
            raise ConflictError(
                f"etag = {etag[:140]!r}: {one.etag!r}, the current one; it was changed meanwhile",
                reason="STALE_ETAG",
            )
        intent = replace(alter(one), revision=one.intent.revision + 1)
        # The full answer tells the decision that follows, so it is written behind the change; one
        # who asks again after a crash in between gets the target as it was before.
        first = _answer(asked, answer(one.as_if(intent)))
        await self._store.commit(Change(asked.request_id, first, (service, intent)))
        before, policy_before = one.intent, one.policy
        one.take_intent(intent)
        audit.intent_changed(asked, service, (before, policy_before), (intent, one.policy))
        self._scaling.decide_now(service)
        full = answer(one)
        try:
            await self._store.commit(Change(asked.request_id, _answer(asked, full)))
        except StateError as error:
            log.warning("answer_not_written", request_id=asked.request_id, problem=str(error))
        return full

    async def _of_drains(self, asked: Asked[M], make: Callable[[], Change], answer: M) -> bool:
        if await self._given(asked) is not None:
            return False
        change = make()
        await self._store.commit(
            replace(change, request_id=asked.request_id, answer=_answer(asked, answer))
        )
        before = audit.withdrawn(self._scaling, change)
        self._scaling.take_drains(change)
        audit.drains_changed(asked, change, before)
        return True

    async def _given(self, asked: Asked[M]) -> bytes | None:
        check_request_id(asked.request_id)
        before = await self._store.answer_of(asked.request_id)
        if before is None:
            return None
        if (before.call, before.digest) != (asked.call, _digest(asked)):
            raise InvalidInputError(
                f"request_id = {asked.request_id!r}: one of its own; another {before.call} had it",
                reason="REQUEST_ID_REUSED",
            )
        return before.answer

    async def _alone(self, step: Coroutine[Any, Any, T]) -> T:
        async def run() -> T:
            async with self._lock:
                return await step

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _digest(asked: Asked[Any]) -> bytes:
    return hashlib.sha256(asked.request.SerializeToString(deterministic=True)).digest()


def _answer(asked: Asked[Any], answer: Message) -> Answer:
    return Answer(asked.call, _digest(asked), answer.SerializeToString(deterministic=True))
