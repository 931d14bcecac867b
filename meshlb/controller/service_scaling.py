"""One service's scaling in a running controller: what is wanted, was decided, and is there."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

from meshlb.controller import intent as intents
from meshlb.controller.intent import Intent, Learned
from meshlb.controller.sizing import Sizing
from meshlb.policy.sample import sample_of
from meshlb.policy.scaler import Scaler
from meshlb.policy.service_record import ServiceRecord
from meshlb.scale_model import (
    Decision,
    Manual,
    Mode,
    Replica,
    ReplicaState,
    Resources,
    Sample,
    ScalePolicy,
    Vertical,
)

KNOWN_PART = 0.9
"""After a start nothing is taken away before so many of the nodes known before have reported."""
COMING = (ReplicaState.STARTING, ReplicaState.READY)
RECORD_EVERY_S = 60.0
UNSCALED_S = 1.0
"""A service without a policy is only looked at so often: nothing follows but its status."""
MOST_START_UPS = 20


class ServiceScaling:
    """State of one service. Written by ``Scaling``, ``Acting`` and ``Changes``, in one loop."""

    def __init__(
        self,
        name: str,
        configured: ScalePolicy | None,
        actuator: str,
        intent: Intent,
        learned: Learned,
        started_at: float,
    ) -> None:
        """``actuator``: its kind, empty if there is none; ``started_at``: of the controller."""
        self.name = name
        self.configured = configured
        if configured is None and actuator:
            self.configured = ScalePolicy(name)
        self.actuator = actuator
        self.intent = intent
        self.start_ups_s = list(learned.start_ups_s)
        self.scaler: Scaler | None = None
        self.sample: Sample | None = None
        self.decision: Decision | None = None
        self.decision_id = 0
        """Last recorded decision of this service."""
        self._recorded: Decision | None = None
        self.replicas: Sequence[Replica] = ()
        self.sizing = Sizing()
        self.problem = ""
        """What keeps the actuator from the target."""
        self.decide_problem = ""
        """Why nothing is decided."""
        self.policy_problem = ""
        """Why the stored policy is not in effect."""
        self.forecast_problem = ""
        """Why there is no forecast, where a rule wants one."""
        self._before = learned
        self._started_at = started_at
        self._recorded_at = -math.inf
        self._recorded_key: object = None
        self._looked_at = -math.inf
        self._seen_starting: dict[str, float] = {}
        self._apply()

    @property
    def policy(self) -> ScalePolicy | None:
        """The policy in effect; None: nothing decides."""
        return self.intent.policy or self.configured

    @property
    def source(self) -> str:
        """Where the policy in effect comes from."""
        return "stored" if self.intent.policy else "config" if self.configured else "none"

    @property
    def etag(self) -> str:
        """What changes with every change of the intent."""
        return intents.etag(self.intent, self.policy)

    @property
    def target(self) -> int | None:
        """Nodes wanted; None: nothing is decided."""
        return None if self.scaler is None else self.scaler.target

    @property
    def learned(self) -> Learned:
        """What a restarted controller is to begin with."""
        ready = 0 if self.sample is None else self.sample.ready
        return Learned(self.target, tuple(self.start_ups_s), ready)

    @property
    def start_up_s(self) -> float | None:
        """90th percentile of the start-up times measured; None: none yet."""
        if not self.start_ups_s:
            return None
        ordered = sorted(self.start_ups_s)
        return ordered[math.ceil(0.9 * len(ordered)) - 1]

    @property
    def resources(self) -> Sequence[Resources]:
        """What nodes should have; empty with vertical off."""
        return self.sizing.resources

    def manual(self, unix_now: float) -> Manual | None:
        """Return what is set by hand now; None: nothing, or it has expired."""
        manual = self.intent.manual
        if manual is None or (manual.expires_at is not None and manual.expires_at <= unix_now):
            return None
        return manual

    def as_if(self, intent: Intent) -> ServiceScaling:
        """Return a copy that has an intent and nothing else changed, to tell what would be."""
        other = copy.copy(self)
        other.intent = intent
        return other

    def take_intent(self, intent: Intent) -> None:
        """Take a changed intent over."""
        self.intent = intent
        self.policy_problem = ""
        self._apply()

    def decide(self, record: ServiceRecord, now: float, unix_now: float) -> Decision | None:
        """Look at what is known, and decide; None without a policy."""
        if self.scaler is None and now - self._looked_at < UNSCALED_S:
            return None
        self._looked_at = now
        policy = self.policy
        starting = self._starting(record, policy, unix_now)
        self.sample = sample_of(record, now, starting, self.start_up_s)
        scaler = self.scaler
        self.sizing.look(record, _vertical(policy), now)
        if scaler is None:
            return None
        scaler.manual = self.manual(unix_now)
        scaler.hold_in = self._hold(self.sample, scaler.policy, now)
        scaler.observe(self.sample, now)
        self.decision = scaler.decide(now, unix_now)
        return self.decision

    @property
    def live_id(self) -> int:
        """Id of the last decision if it is recorded, as most are not; else 0."""
        return self.decision_id if self.decision is self._recorded else 0

    def recorded_as(self, decision_id: int) -> None:
        """Take the last decision as recorded under that id."""
        self.decision_id, self._recorded = decision_id, self.decision

    def record_due(self, now: float) -> tuple[bool, bool]:
        """Return whether the last decision is to be recorded, and whether it changed anything."""
        decision = self.decision
        if decision is None:
            return False, False
        key = (
            decision.target, decision.panic, decision.least, decision.most, decision.policy,
            decision.inputs.manual, decision.inputs.pause,
        )  # fmt: skip
        changed = key != self._recorded_key
        if not changed and now - self._recorded_at < RECORD_EVERY_S:
            return False, False
        self._recorded_key, self._recorded_at = key, now
        return True, changed

    def _apply(self) -> None:
        policy = self.policy
        if policy is None:
            self.scaler = self.decision = None
            return
        if self.scaler is None:
            self.scaler = Scaler(policy, self._started_at, self._before.target)
        self.scaler.policy = policy
        self.scaler.manual = self.intent.manual
        self.scaler.pause = self.intent.pause

    def _hold(self, sample: Sample, policy: ScalePolicy, now: float) -> tuple[float, str]:
        """Return until when nothing is taken away after the controller's start, and why."""
        known = max(self._before.ready, self._replicas_ready())
        limit = self._started_at + policy.start_limit_s
        if self._before.target is not None and now < limit and sample.ready < KNOWN_PART * known:
            why = f"{sample.ready} of the {known} nodes known before the start have reported"
            return limit, why
        return self._started_at + policy.stable_window_s, "the controller has just started"

    def _replicas_ready(self) -> int:
        return sum(1 for replica in self.replicas if replica.state is ReplicaState.READY)

    def _starting(self, record: ServiceRecord, policy: ScalePolicy | None, unix_now: float) -> int:
        """Return the replicas that start; measure those that have come up.

        Clients are told that nodes come as long as a healthy one has not reported yet, too.
        """
        limit_s = math.inf if policy is None else policy.start_limit_s
        nodes: Mapping[str, object] = record.nodes
        starting = {}
        record.starting = False
        for replica in self.replicas:
            there = bool(replica.node_id) and replica.node_id in nodes
            if replica.state in COMING and not there and unix_now - replica.since <= limit_s:
                record.starting = True
            if replica.state is ReplicaState.STARTING and not there:
                starting[replica.replica_id] = replica.since
            elif there and replica.replica_id in self._seen_starting:
                took_s = max(0.0, unix_now - self._seen_starting[replica.replica_id])
                self.start_ups_s = [*self.start_ups_s, took_s][-MOST_START_UPS:]
        self._seen_starting = starting
        return sum(1 for since in starting.values() if unix_now - since <= limit_s)


def _vertical(policy: ScalePolicy | None) -> Vertical:
    """Return what is done about sizes: to observe is to give no order, of sizes neither."""
    if policy is None:
        return Vertical.OFF
    gives = policy.mode is Mode.ACTIVE or policy.vertical is not Vertical.APPLY
    return policy.vertical if gives else Vertical.RECOMMEND
