"""ScaleService over gRPC: requests checked, answers made; what they mean is in ``Changes``.

Long because each RPC of the service is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from meshlb import scale_state_wire, scale_wire
from meshlb.checks import MOST_TIME_S
from meshlb.controller.changes import Asked, Changes
from meshlb.controller.gate import Caller, Gate
from meshlb.controller.intent import Intent
from meshlb.controller.refusals import Context
from meshlb.controller.scale_status import ScaleWatcher
from meshlb.controller.scaling import Scaling
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.controller.store import Recorded, Store
from meshlb.errors import ConflictError, InvalidInputError, MeshlbError
from meshlb.policy import preview, scale_record
from meshlb.scale_model import Pause, ScalePolicy
from meshlb.security.roles import Action
from meshlb.v1 import scale_pb2, scale_pb2_grpc
from meshlb.wire_time import duration, seconds, timestamp

MOST_DECISIONS, DEFAULT_DECISIONS = 10_000, 100
MOST_BYTES = 3_000_000
"""Of one answer: clients take 4 MB. The rest is asked for with until_time."""
ROUNDED_S = 1e-6
"""Instants are told to the microsecond, so one who asks with what was told may be off by that."""
MOST_POINTS = 10_000
T = TypeVar("T")
U = TypeVar("U")


Method = Callable[["ScaleService", Any, T], Awaitable[U]]


def _admitting(action: Action) -> Callable[[Method[Caller, U]], Method[Context, U]]:
    """Let in only who may; turn the errors that a method raises into statuses."""

    def decorated(method: Method[Caller, U]) -> Method[Context, U]:
        @functools.wraps(method)
        async def wrapped(self: ScaleService, request: Any, context: Context) -> U:
            try:
                caller = self._gate.admit(context, action, _service_of(request))
                return await method(self, request, caller)
            except MeshlbError as error:
                await self._gate.refuse(context, error, method.__name__)

        return wrapped

    return decorated


def _service_of(request: Any) -> str | None:
    """Return the service that a request is about; None: those that the caller may see."""
    if hasattr(request, "policy"):
        return str(request.policy.service)
    return str(request.service) if hasattr(request, "service") else None


class ScaleService(scale_pb2_grpc.ScaleServiceServicer):
    """The shell around ``Scaling``."""

    def __init__(self, scaling: Scaling, changes: Changes, store: Store, gate: Gate) -> None:
        self._scaling = scaling
        self._gate = gate
        self._changes = changes
        self._store = store

    @_admitting(Action.READ)
    async def GetScale(  # noqa: N802
        self, request: scale_pb2.GetScaleRequest, caller: Caller
    ) -> scale_pb2.GetScaleResponse:
        """Return one service's state."""
        del caller
        known = self._scaling.known(request.service)
        return scale_pb2.GetScaleResponse(scale=self._scaling.status(known))

    @_admitting(Action.READ)
    async def ListScales(  # noqa: N802
        self, request: scale_pb2.ListScalesRequest, caller: Caller
    ) -> scale_pb2.ListScalesResponse:
        """Return all services' states."""
        del request
        of = self._scaling.of
        return scale_pb2.ListScalesResponse(
            scales=[
                self._scaling.status(of(name))
                for name in self._scaling.names()
                if self._gate.sees(caller, name)
            ]
        )

    @_admitting(Action.CHANGE)
    async def SetScale(  # noqa: N802
        self, request: scale_pb2.SetScaleRequest, caller: Caller
    ) -> scale_pb2.SetScaleResponse:
        """Set a count or bounds by hand, or end what is set."""

        def alter(one: ServiceScaling) -> Intent:
            if not request.HasField("manual"):
                return replace(one.intent, manual=None)
            manual = scale_wire.manual_from_pb(request.manual, time.time())
            if one.policy is None:
                raise ConflictError(
                    f"service = {one.name!r}: a service with a scale policy or an actuator; put a "
                    f'policy first, by PutScalePolicy or [service."{one.name}".scale]',
                    reason="NO_POLICY",
                )
            return replace(one.intent, manual=manual)

        return await self._change("SetScale", request, caller, alter, scale_pb2.SetScaleResponse)

    @_admitting(Action.CHANGE)
    async def PauseScale(  # noqa: N802
        self, request: scale_pb2.PauseScaleRequest, caller: Caller
    ) -> scale_pb2.PauseScaleResponse:
        """Hold one direction or both, besides those that are held."""
        asked = scale_wire.pause_from_pb(request.pause)

        def alter(one: ServiceScaling) -> Intent:
            old = one.intent.pause
            return replace(
                one.intent,
                pause=Pause(
                    asked.scale_out or old.scale_out,
                    asked.scale_in or old.scale_in,
                    asked.reason or old.reason,
                ),
            )

        return await self._change(
            "PauseScale", request, caller, alter, scale_pb2.PauseScaleResponse
        )

    @_admitting(Action.CHANGE)
    async def ResumeScale(  # noqa: N802
        self, request: scale_pb2.ResumeScaleRequest, caller: Caller
    ) -> scale_pb2.ResumeScaleResponse:
        """Let one direction go again, or both."""
        both = not (request.scale_out or request.scale_in)

        def alter(one: ServiceScaling) -> Intent:
            old = one.intent.pause
            scale_out = old.scale_out and not (both or request.scale_out)
            scale_in = old.scale_in and not (both or request.scale_in)
            reason = old.reason if scale_out or scale_in else ""
            return replace(one.intent, pause=Pause(scale_out, scale_in, reason))

        return await self._change(
            "ResumeScale", request, caller, alter, scale_pb2.ResumeScaleResponse
        )

    @_admitting(Action.CHANGE)
    async def PutScalePolicy(  # noqa: N802
        self, request: scale_pb2.PutScalePolicyRequest, caller: Caller
    ) -> scale_pb2.PutScalePolicyResponse:
        """Store a policy in the place of the one in effect."""
        policy = scale_wire.policy_from_pb(request.policy)
        asked = Asked(
            "PutScalePolicy",
            request,
            request.request_id,
            scale_pb2.PutScalePolicyResponse,
            str(caller),
        )
        return await self._changes.of_intent(
            asked,
            policy.service,
            request.etag,
            lambda one: replace(one.intent, policy=policy),
            lambda one: scale_pb2.PutScalePolicyResponse(
                policy=scale_wire.policy_to_pb(policy), etag=one.etag
            ),
        )

    @_admitting(Action.READ)
    async def GetScalePolicy(  # noqa: N802
        self, request: scale_pb2.GetScalePolicyRequest, caller: Caller
    ) -> scale_pb2.GetScalePolicyResponse:
        """Return the policy in effect."""
        del caller
        one = self._scaling.known(request.service)
        return scale_pb2.GetScalePolicyResponse(
            policy=None if one.policy is None else scale_wire.policy_to_pb(one.policy),
            etag=one.etag,
            source=one.source,
        )

    async def WatchScale(  # noqa: N802
        self, request: scale_pb2.WatchScaleRequest, context: Context
    ) -> AsyncIterator[scale_pb2.WatchScaleResponse]:
        """Stream states: all now, then each change."""
        watcher = ScaleWatcher(request.service)
        try:
            caller = self._gate.admit(context, Action.READ, request.service or None)
            with self._gate.stream(caller):
                if request.service:
                    self._scaling.known(request.service)
                self._scaling.watch(watcher)
                while True:
                    for message in await watcher.take():
                        if self._gate.sees(caller, message.service):
                            yield scale_pb2.WatchScaleResponse(scale=message)
        except MeshlbError as error:
            await self._gate.refuse(context, error, "WatchScale")
        finally:
            self._scaling.watchers.discard(watcher)

    @_admitting(Action.READ)
    async def ListScaleDecisions(  # noqa: N802
        self, request: scale_pb2.ListScaleDecisionsRequest, caller: Caller
    ) -> scale_pb2.ListScaleDecisionsResponse:
        """Return recorded decisions, newest first."""
        del caller
        self._scaling.known(request.service)
        if not 0 <= request.limit <= MOST_DECISIONS:
            raise InvalidInputError(
                f"limit = {request.limit}: from 1 to {MOST_DECISIONS}, or 0 for "
                f"{DEFAULT_DECISIONS}",
                reason="INVALID_LIMIT",
            )
        until = since = None
        if request.HasField("until_time"):
            until = seconds(request.until_time)
        if request.HasField("since_time"):
            since = seconds(request.since_time)
        found = await self._store.decisions(
            request.service,
            0.0 if since is None else since - ROUNDED_S,
            MOST_TIME_S if until is None else until + ROUNDED_S,
            request.limit or DEFAULT_DECISIONS,
            request.changes_only,
        )
        return await asyncio.to_thread(_decisions, found)

    @_admitting(Action.READ)
    async def PreviewScalePolicy(  # noqa: N802
        self, request: scale_pb2.PreviewScalePolicyRequest, caller: Caller
    ) -> scale_pb2.PreviewScalePolicyResponse:
        """Say what a policy would have done over the record."""
        del caller
        policy = scale_wire.policy_from_pb(request.policy)
        self._scaling.known(policy.service)
        since = 0.0
        if request.HasField("since"):
            since = max(0.0, time.time() - seconds(request.since))
        found = await self._store.decisions(
            policy.service, since, MOST_TIME_S, MOST_DECISIONS, changes_only=False
        )
        return await asyncio.to_thread(_preview, policy, found)

    async def _change(
        self,
        call: str,
        request: Any,
        caller: Caller,
        alter: Callable[[ServiceScaling], Intent],
        answer_type: type[T],
    ) -> T:
        make: Any = answer_type
        answered: T = await self._changes.of_intent(
            Asked(call, request, request.request_id, make, str(caller)),
            request.service,
            request.etag,
            alter,
            lambda one: make(scale=self._scaling.status(one)),
        )
        return answered


def _decisions(found: list[Recorded]) -> scale_pb2.ListScaleDecisionsResponse:
    answer = scale_pb2.ListScaleDecisionsResponse()
    size = 0
    for one in found:
        try:
            decision = scale_record.from_json(one.record_json)
        except InvalidInputError:  # of an older version
            continue
        message = scale_state_wire.decision_to_pb(decision, one.decision_id, one.record_json)
        size += message.ByteSize()
        if size > MOST_BYTES and answer.decisions:
            break
        answer.decisions.append(message)
    return answer


def _preview(policy: ScalePolicy, found: list[Recorded]) -> scale_pb2.PreviewScalePolicyResponse:
    decisions = []
    for one in reversed(found):
        with contextlib.suppress(InvalidInputError):  # of an older version
            decisions.append(scale_record.from_json(one.record_json))
    made = preview.preview(policy, decisions)
    return scale_pb2.PreviewScalePolicyResponse(
        points=[
            scale_pb2.ScalePreviewPoint(
                time=timestamp(point.at),
                recorded_count=point.recorded,
                preview_count=point.preview,
                reason=point.reason,
            )
            for point in made.points[-MOST_POINTS:]
        ],
        recorded_node_seconds=made.recorded_node_s,
        preview_node_seconds=made.preview_node_s,
        covered=duration(made.covered_s),
    )
