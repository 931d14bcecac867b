"""Orders of slots, passed on to a model server that can be told (``meshlb.orca``)."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import structlog

from meshlb.v1 import slots_pb2, slots_pb2_grpc
from sidecar import dial
from sidecar.probes import Node

LIMIT_S = 0.5
AGAIN_S = 30.0
"""After a failure: a server that does not know the call may be another one by then."""
NOT_ENFORCED = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION)
"""From a server that leaves slots to the stubs, as most do."""
log = structlog.get_logger()


class Slots:
    """One server's slots: as it was started, or as ordered."""

    def __init__(self, node: Node) -> None:
        self.applied: int | None = None
        """What the server has by order; None: what it was started with."""
        self._node = node
        self._before: int | None = None
        self._not_before = 0.0

    async def bring(self, ordered: int | None) -> None:
        """Bring the server to what is ordered (None: as it was started), if it can be told."""
        wanted = self._before if ordered is None else ordered
        now = asyncio.get_running_loop().time()
        if ordered == self.applied or wanted is None or now < self._not_before:
            return
        try:
            async with dial.server(self._node, (("grpc.enable_http_proxy", 0),)) as channel:
                answer = await slots_pb2_grpc.SlotServiceStub(channel).SetSlots(
                    slots_pb2.SetSlotsRequest(slot_count=wanted), timeout=LIMIT_S
                )
        except grpc.aio.AioRpcError as error:
            self._not_before = now + AGAIN_S
            if error.code() not in NOT_ENFORCED:
                log.warning("slots_not_set", slots=wanted, problem=error.details())
            return
        if self.applied is None:
            self._before = answer.previous_slot_count
        self.applied = ordered
        log.info("slots_set", slots=wanted, before=answer.previous_slot_count)
