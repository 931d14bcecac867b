"""DrainNode and UndrainNode: orders that outlive the stream, and how far they have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from meshlb.controller.changes import Asked, Changes
from meshlb.controller.intent import Drain
from meshlb.controller.nodes_view import drain_state
from meshlb.controller.scaling import Scaling
from meshlb.controller.store import Change
from meshlb.errors import ConflictError, InvalidInputError, NotFoundError
from meshlb.policy.drain import DrainState
from meshlb.policy.fleet import Fleet
from meshlb.policy.service_record import ServiceRecord
from meshlb.v1 import balance_pb2

LOOK_EVERY_S = 0.05


class Draining:
    """Withdraws nodes for operators."""

    def __init__(self, fleet: Fleet, scaling: Scaling, changes: Changes) -> None:
        self._fleet = fleet
        self._scaling = scaling
        self._changes = changes

    async def drain(
        self, request: balance_pb2.DrainNodeRequest, who: str
    ) -> AsyncIterator[balance_pb2.DrainNodeResponse]:
        """Withdraw a node, and tell the progress until nothing is left to wait for.

        Raises NotFoundError, InvalidInputError or StateError, and ConflictError if somebody ends
        the withdrawal meanwhile.
        """
        if len(request.reason) > 1000:
            raise InvalidInputError(
                f"reason: {len(request.reason)} characters: at most 1000", reason="INVALID_REASON"
            )
        service, node_id = request.service, request.node_id

        def order() -> Change:
            self._record(service, node_id)
            reason = request.reason or "by an operator"
            return Change(drains=[Drain(service, node_id, reason, by_scaling=False)])

        answer = balance_pb2.DrainNodeResponse()
        asked = Asked("DrainNode", request, request.request_id, type(answer), who)
        await self._changes.of_drains(asked, order, answer)
        told = None
        while True:
            state = self._state(service, node_id)
            message = _progress(state)
            if message != told:
                told = message
                yield message
            if state.drained:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def undrain(
        self, request: balance_pb2.UndrainNodeRequest, who: str
    ) -> balance_pb2.UndrainNodeResponse:
        """Give a node calls again. Raises as ``drain``, and if its sidecar has withdrawn it."""
        service, node_id = request.service, request.node_id

        def order() -> Change:
            node = self._record(service, node_id).nodes.get(node_id)
            if node is not None and node.drained:
                raise ConflictError(
                    f"node_id = {node_id!r}: a node whose sidecar runs; this one withdrew it with "
                    "its last word, and gives it back by starting again",
                    reason="WITHDRAWN_BY_SIDECAR",
                )
            return Change(undrains=[(service, node_id)])

        answer = balance_pb2.UndrainNodeResponse()
        asked = Asked("UndrainNode", request, request.request_id, type(answer), who)
        await self._changes.of_drains(asked, order, answer)
        return answer

    def _record(self, service: str, node_id: str) -> ServiceRecord:
        self._scaling.known(service)
        record = self._fleet.service(service)
        if node_id not in record.nodes and node_id not in record.orders:
            known = sorted(record.nodes)[:20]
            raise NotFoundError(
                f"node_id = {node_id[:260]!r}: one of {known}", reason="UNKNOWN_NODE"
            )
        return record

    def _state(self, service: str, node_id: str) -> DrainState:
        record = self._fleet.service(service)
        node = record.nodes.get(node_id)
        if node is not None and not node.withdrawn:
            raise ConflictError(
                f"node_id = {node_id!r}: its withdrawal was ended meanwhile", reason="UNDRAINED"
            )
        return drain_state(record, node_id, time.monotonic())


def _progress(state: DrainState) -> balance_pb2.DrainNodeResponse:
    return balance_pb2.DrainNodeResponse(
        acknowledged_count=state.acknowledged,
        client_count=state.clients,
        in_flight_count=state.in_flight,
        connection_count=state.connections,
        drained=state.drained,
        waiting_for=state.waiting_for,
    )
