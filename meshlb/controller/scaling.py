"""All services' scaling: after each tick what is known is looked at, decided, recorded and told.

Routing knows nothing of it: what fails here is logged and told in ScaleStatus, and the last targets
stay. What it holds in memory is on disk first if an RPC changed it (``Changes``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import structlog

from meshlb import plugins
from meshlb.actuators import Context
from meshlb.controller.acting import Acting, Hands
from meshlb.controller.forecasting import Forecasting
from meshlb.controller.intent import Drain, Intent, Learned
from meshlb.controller.scale_status import ScaleWatcher, signature, status
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.controller.store import Change, Kept, Recorded, Store
from meshlb.errors import StateError, UnknownServiceError
from meshlb.policy import scale_record
from meshlb.policy.fleet import Fleet
from meshlb.scale_settings import ACTUATORS
from meshlb.settings import Settings
from meshlb.v1 import scale_pb2

log = structlog.get_logger()


class Scaling:
    """Every service's scaling, in one event loop."""

    def __init__(self, fleet: Fleet, settings: Settings, store: Store) -> None:
        self.services: dict[str, ServiceScaling] = {}
        self.watchers: set[ScaleWatcher] = set()
        self.drains: dict[tuple[str, str], Drain] = {}
        self._fleet = fleet
        self._settings = settings
        self._store = store
        self._kept = Kept()
        self._last_id = 0
        self._acting: dict[str, Acting] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[str, object] = {}
        self._forecasting = Forecasting(store, self.services.values)

    async def load(self) -> None:
        """Take over what an earlier controller has kept. Raises InvalidInputError if damaged."""
        kept = self._kept = await self._store.load()
        self._last_id = kept.last_decision_id
        for drain in kept.drains:
            if drain.by_scaling and drain.service not in self._settings.actuators:
                continue  # nobody is left who would stop or restore it
            self.drains[drain.service, drain.node_id] = drain
            self._fleet.drain(drain.service, drain.node_id, drain.reason)
        for service, problem in kept.problems.items():
            log.error("stored_policy_not_understood", service=service, problem=problem)
        settings = self._settings
        for name in {*settings.policies, *settings.actuators, *kept.intents}:
            self._fleet.service(name)
            self.of(name)

    def start(self, controllers: str) -> None:
        """Start the actuators; ``controllers`` is where sidecars are to report to."""
        forecasts = asyncio.create_task(self._forecasting.run(), name="forecasts")
        self._tasks.append(forecasts)
        hands = Hands(self._withdraw, self._restore, self._operators, self._scaled)
        for name, spec in self._settings.actuators.items():
            scaling = self.of(name)
            try:
                context = Context(controllers, self._store.ledger(name, spec.kind))
                module = plugins.load(ACTUATORS, spec.kind)
                actuator = module.build(name, spec.built(), context)
            except Exception as error:
                log.exception("actuator_not_built", service=name, kind=spec.kind)
                scaling.problem = f"actuator {spec.kind}: {error}"
                continue
            acting = Acting(scaling, self._fleet.service(name), actuator, hands)
            self._acting[name] = acting
            self._tasks.append(asyncio.create_task(acting.run(), name=f"acting {name}"))

    async def close(self) -> None:
        """Stop acting; replicas run on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(acting.close() for acting in self._acting.values()))

    # --- asked by services -----------------------------------------------------------------

    def of(self, name: str) -> ServiceScaling:
        """Return a service's scaling, made if it is new."""
        scaling = self.services.get(name)
        if scaling is None:
            actuator = self._settings.actuators.get(name)
            kept = self._kept
            scaling = self.services[name] = ServiceScaling(
                name,
                self._settings.policies.get(name),
                "" if actuator is None else actuator.kind,
                kept.intents.get(name, Intent()),
                kept.learned.get(name, Learned()),
                self._fleet.started_at,
            )
            scaling.policy_problem = kept.problems.get(name, "")
        return scaling

    def known(self, name: str) -> ServiceScaling:
        """Return a service that has a node, a client, a policy or an actuator.

        Raises UnknownServiceError for any other.
        """
        if name not in self._fleet.services:
            raise UnknownServiceError(name, sorted(self._fleet.services))
        return self.of(name)

    def names(self) -> list[str]:
        """Return all known services, sorted."""
        return sorted(self._fleet.services)

    def status(self, scaling: ServiceScaling) -> scale_pb2.ScaleStatus:
        """Return one service's state."""
        return status(scaling, self._fleet.service(scaling.name), time.time())

    def watch(self, watcher: ScaleWatcher) -> None:
        """Tell a watcher all there is now, and each change from now on."""
        self.watchers.add(watcher)
        for name in [watcher.service] if watcher.service else self.names():
            watcher.put(self.status(self.of(name)))

    def decide_now(self, name: str) -> None:
        """Decide for one service without waiting for the tick."""
        self._one(self.of(name), time.monotonic(), time.time())

    def take_drains(self, change: Change) -> None:
        """Carry out what has been written: orders to withdraw nodes, and their ends."""
        for drain in change.drains:
            self.drains[drain.service, drain.node_id] = drain
            self._fleet.drain(drain.service, drain.node_id, drain.reason)
        for service, node_id in change.undrains:
            self.drains.pop((service, node_id), None)
            self._fleet.undrain(service, node_id)

    # --- every tick ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Decide for every service, right after the fleet's tick."""
        unix_now = time.time()
        for name in list(self._fleet.services):
            try:
                self._one(self.of(name), now, unix_now)
            except Exception:
                log.exception("scaling_failed", service=name)

    def _one(self, scaling: ServiceScaling, now: float, unix_now: float) -> None:
        before = scaling.target
        record = self._fleet.service(scaling.name)
        try:
            decision = scaling.decide(record, now, unix_now)
            scaling.decide_problem = ""
            self._forecasting.observe(scaling, unix_now)
        except Exception as error:
            if not scaling.decide_problem:
                log.exception("decision_failed", service=scaling.name)
            scaling.decide_problem = f"nothing is decided: {error}"
            decision = None
        if decision is not None and decision.target != before:
            log.info("scale_target", service=scaling.name, target=decision.target,
                     before=before, reason=decision.reason)  # fmt: skip
            if scaling.name in self._acting:
                self._acting[scaling.name].wake()
        due, changed = scaling.record_due(now) if decision is not None else (False, False)
        if decision is not None and due:
            self._last_id += 1
            scaling.recorded_as(self._last_id)
            recorded = Recorded(
                self._last_id, scaling.name, unix_now, changed, scale_record.to_json(decision)
            )
            self._store.record(recorded, scaling.learned)
        self._tell(scaling)

    def _tell(self, scaling: ServiceScaling) -> None:
        name = scaling.name
        watchers = [w for w in self.watchers if w.service in ("", name)]
        if not watchers:
            self._told.pop(name, None)
            return
        now = signature(scaling, self._fleet.service(name))
        if self._told.get(name) != now:
            self._told[name] = now
            message = self.status(scaling)
            for watcher in watchers:
                watcher.put(message)

    # --- hands of the actuators' tasks -----------------------------------------------------

    async def _withdraw(self, service: str, node_id: str, reason: str) -> None:
        await self._order(Change(drains=[Drain(service, node_id, reason, by_scaling=True)]))

    async def _restore(self, service: str, node_id: str) -> None:
        await self._order(Change(undrains=[(service, node_id)]))

    async def _order(self, change: Change) -> None:
        try:
            await self._store.commit(change)
        except StateError as error:
            # Forgotten by a restart, the node takes calls again: nothing breaks by that.
            log.warning("drain_not_written", problem=str(error))
        self.take_drains(replace(change, request_id=""))

    def _operators(self, service: str) -> Mapping[str, Drain]:
        return {
            node_id: drain
            for (of, node_id), drain in self.drains.items()
            if of == service and not drain.by_scaling
        }

    def _scaled(self, service: str) -> Mapping[str, Drain]:
        return {
            node_id: drain
            for (of, node_id), drain in self.drains.items()
            if of == service and drain.by_scaling
        }
