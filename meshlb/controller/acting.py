"""Carries one service's target out: a task of its own, so that no actuator holds anything up.

Each round looks at the replicas, plans, withdraws and restores nodes, and gives the actuator its
order. Nothing is planned before the actuator has found again what ran before (``start`` and a
first ``observe``), so nothing is started twice. One that fails or hangs is a problem that is told,
and is asked again after a while; balancing and deciding go on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from meshlb.actuators import Actuator, Order
from meshlb.controller.nodes_view import node_views
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.errors import MeshlbError
from meshlb.policy import reconcile
from meshlb.policy.reconcile import NodeView, Plan
from meshlb.policy.service_record import ServiceRecord
from meshlb.scale_model import Mode, Replica, ReplicaState

log = structlog.get_logger()
T = TypeVar("T")
PERIOD_S, BUSY_PERIOD_S = 1.0, 0.2
"""Between rounds, and while replicas start or drain; a new target begins a round at once."""
REPEAT_S = 30.0
"""An order is given again after so long, though nothing has changed."""
SLOW_S = 5.0
"""A call that takes longer is told as a problem."""
LIMIT_S = 300.0
"""A call that takes longer is given up."""
FIRST_DELAY_S, LAST_DELAY_S = 0.5, 30.0
RUNNING = (ReplicaState.READY, ReplicaState.DRAINING)


@dataclasses.dataclass(frozen=True, slots=True)
class Hands:
    """What a round may do beside ordering."""

    withdraw: Callable[[str, str, str], Awaitable[None]]
    """(service, node_id, reason): no new calls."""
    restore: Callable[[str, str], Awaitable[None]]
    operators: Callable[[str], Mapping[str, object]]
    """Nodes of a service that an operator has withdrawn, by node_id."""
    scaled: Callable[[str], Mapping[str, object]]
    """Nodes of a service that have been withdrawn here."""


class Acting:
    """One service's actuator at work."""

    def __init__(
        self, scaling: ServiceScaling, record: ServiceRecord, actuator: Actuator, hands: Hands
    ) -> None:
        self._scaling = scaling
        self._record = record
        self._actuator = actuator
        self._hands = hands
        self._wake = asyncio.Event()
        self._given: tuple[object, ...] = ()
        self._given_at = 0.0
        self._refused: dict[str, float] = {}
        """Cores that the actuator could not give, by replica_id."""

    def wake(self) -> None:
        """Begin a round now: the target is another one."""
        self._wake.set()

    async def run(self) -> None:
        """Act until cancelled."""
        started = False
        delay_s = FIRST_DELAY_S
        while True:
            try:
                if not started:
                    await self._ask("start", self._actuator.start())
                    started = True
                wait_s = await self._round()
                delay_s = FIRST_DELAY_S
            except Exception as error:
                self._tell(error, f"; tried again {delay_s:.3g} s later")
                self._given = ()
                wait_s, delay_s = delay_s, min(LAST_DELAY_S, 2 * delay_s)
                await asyncio.sleep(wait_s)
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def close(self) -> None:
        """Let the actuator go; what it started runs on."""
        try:
            async with asyncio.timeout(SLOW_S):
                await self._actuator.close()
        except Exception as error:
            log.warning("actuator_not_closed", service=self._scaling.name, problem=repr(error))

    async def _round(self) -> float:
        """Look, plan and order once; return the seconds until the next time."""
        scaling = self._scaling
        replicas = await self._ask("observe", self._actuator.observe())
        now, unix_now = time.monotonic(), time.time()
        views = node_views(self._record, self._hands.operators(scaling.name), now, unix_now)
        scaling.replicas = [_as_node(replica, views.get(replica.node_id)) for replica in replicas]
        there = {*self._record.nodes, *(replica.node_id for replica in replicas)}
        for node_id in self._hands.scaled(scaling.name).keys() - there:
            await self._hands.restore(scaling.name, node_id)  # it is gone, and so is its order
        target, policy = scaling.target, scaling.policy
        if not scaling.sizing.gives:
            await self._resize(replicas)
        if target is None or policy is None or policy.mode is not Mode.ACTIVE:
            scaling.problem = ""
            return PERIOD_S
        capabilities = self._actuator.capabilities
        plan = reconcile.plan(target, replicas, views, capabilities, unix_now, policy)
        for reason in plan.reasons:
            log.info("scale_step", service=scaling.name, target=target, step=reason)
        for node_id in plan.restore:
            await self._hands.restore(scaling.name, node_id)
        for node_id in plan.withdraw:
            await self._hands.withdraw(scaling.name, node_id, f"scale-in to {target}")
        called = {n for n, node in self._record.nodes.items() if not node.withdrawn}
        # Writing took time, in which an operator may have given a node calls again.
        again = {r.replica_id for r in replicas if r.node_id in called}
        plan = dataclasses.replace(plan, stop=tuple(r for r in plan.stop if r not in again))
        await self._order(plan, replicas, views, target)
        if scaling.sizing.gives:
            await self._resize(replicas)
        scaling.problem = plan.problem
        busy = any(r.state not in (ReplicaState.READY, ReplicaState.LOST) for r in scaling.replicas)
        return BUSY_PERIOD_S if busy or plan.reasons else PERIOD_S

    async def _order(
        self,
        plan: Plan,
        replicas: Sequence[Replica],
        views: Mapping[str, NodeView],
        target: int,
    ) -> None:
        going = set(plan.withdraw)
        going |= {n for n, v in views.items() if v.withdrawn_since is not None}
        going -= set(plan.restore)
        withdrawn = sorted(
            r.replica_id
            for r in replicas
            if r.node_id in going and r.state is not ReplicaState.LOST
        )
        given = (target, plan.start, plan.stop, withdrawn)
        now = time.monotonic()
        lately = given == self._given and now - self._given_at < REPEAT_S
        if lately and not (plan.start or plan.stop):
            return
        decision = self._scaling.decision
        order = Order(
            service=self._scaling.name,
            target=target,
            start=plan.start,
            stop=plan.stop,
            decision_id=self._scaling.decision_id,
            reason="" if decision is None else decision.reason,
            withdrawn=withdrawn,
        )
        await self._ask("apply", self._actuator.apply(order))
        self._given, self._given_at = given, now

    async def _resize(self, replicas: Sequence[Replica]) -> None:
        """Give replicas the cores that they are to have, where the actuator can.

        Infinite: those that they were started with, which an earlier controller may have changed.
        """
        sizing = self._scaling.sizing
        if not self._actuator.capabilities.resizes:
            return
        for replica in replicas:
            if replica.state not in RUNNING:
                continue
            cores = sizing.cores.get(replica.node_id) if sizing.gives else math.inf
            if cores in (None, sizing.cores_given.get(replica.node_id)):
                continue
            if self._refused.get(replica.replica_id) == cores:
                continue
            step = self._actuator.resize(replica.replica_id, None, cores, None)
            if await self._ask("resize", step):
                sizing.cores_given[replica.node_id] = cores
            else:
                self._refused[replica.replica_id] = cores

    async def _ask(self, what: str, step: Awaitable[T]) -> T:
        """Return what the actuator answers; one that is slow is a problem, but is waited for."""
        task = asyncio.ensure_future(step)
        try:
            done, _ = await asyncio.wait((task,), timeout=SLOW_S)
            if not done:
                self._tell(MeshlbError(f"{what} has not returned for {SLOW_S:g} s"), "")
                done, _ = await asyncio.wait((task,), timeout=LIMIT_S - SLOW_S)
            if not done:
                raise MeshlbError(f"{what} has not returned for {LIMIT_S:g} s; given up")
            return task.result()
        finally:
            task.cancel()

    def _tell(self, error: Exception, then: str) -> None:
        text = str(error) if isinstance(error, MeshlbError) else repr(error)
        problem = f"actuator {self._scaling.actuator}: {text}"
        if not self._scaling.problem.startswith(problem):
            log.warning("actuator_failed", service=self._scaling.name, problem=problem)
        self._scaling.problem = problem + then


def _as_node(replica: Replica, view: NodeView | None) -> Replica:
    """Return a replica as people see it: one whose node is withdrawn drains."""
    if replica.state is not ReplicaState.READY:
        return replica
    if view is None:
        unheard = f"no sidecar reports as {replica.node_id}" if replica.node_id else "no node id"
        reason = f"{replica.reason}; {unheard}" if replica.reason else unheard
        return dataclasses.replace(replica, reason=reason)
    if view.withdrawn_since is None:
        return replica
    reason = view.waiting_for or "drained"
    return dataclasses.replace(
        replica, state=ReplicaState.DRAINING, since=view.withdrawn_since, reason=reason
    )
