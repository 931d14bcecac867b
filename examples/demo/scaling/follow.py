"""Asks the controller what it wants, why, and what there is: WatchScale, and GetScale for counts.

WatchScale tells each change at once; figures that always move, such as calls in flight, are no
change, so they are asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import grpc

from examples.demo.scaling.config import SERVICE
from examples.demo.scaling.state import Act
from examples.demo.scaling.story import Node
from meshlb.v1 import scale_pb2, scale_pb2_grpc

INTERVAL_S = 0.5
AGAIN_S = 0.2


def node(replica: scale_pb2.Replica) -> Node:
    """Return one replica."""
    state = scale_pb2.ReplicaState.Name(replica.state).removeprefix("REPLICA_STATE_").lower()
    known = replica.HasField("in_flight_count")
    return Node(
        replica.replica_id, state, replica.reason, replica.in_flight_count if known else None
    )


def take(act: Act, scale: scale_pb2.ScaleStatus) -> None:
    """Bring an act up to date with a change."""
    target = scale.target_count if scale.HasField("target_count") else None
    nodes = [node(replica) for replica in scale.replicas]
    act.take(target, nodes, scale.decision.reason, scale.problem)


def refresh(act: Act, scale: scale_pb2.ScaleStatus) -> None:
    """Take over the figures that are no change.

    Only these: an answer may be older than what WatchScale has told since.
    """
    known = {
        r.replica_id: r.in_flight_count for r in scale.replicas if r.HasField("in_flight_count")
    }
    act.nodes = [replace(n, in_flight=known.get(n.replica_id)) for n in act.nodes]
    if scale.target_count == act.target:
        act.reason = scale.decision.reason
    if scale.decision.record_json:
        record = json.loads(scale.decision.record_json)
        act.in_flight = record["inputs"]["signals"].get("in_flight", {}).get("last")


class Follow:
    """Keeps an ``Act`` up to date."""

    def __init__(self, act: Act, controller: str) -> None:
        self._act = act
        self._channel = grpc.aio.insecure_channel(controller)
        self._stub = scale_pb2_grpc.ScaleServiceStub(self._channel)
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._ask())]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def _watch(self) -> None:
        request = scale_pb2.WatchScaleRequest(service=SERVICE)
        while True:
            with contextlib.suppress(grpc.RpcError):
                async for told in self._stub.WatchScale(request, wait_for_ready=True):
                    take(self._act, told.scale)
            await asyncio.sleep(AGAIN_S)

    async def _ask(self) -> None:
        request = scale_pb2.GetScaleRequest(service=SERVICE)
        while True:
            with contextlib.suppress(grpc.RpcError):
                answer = await self._stub.GetScale(request, timeout=2, wait_for_ready=True)
                refresh(self._act, answer.scale)
                self._act.sample()
            await asyncio.sleep(INTERVAL_S)
