"""meshlb's own scaling in a simulation: the very Scaler and reconciler that the controller runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshlb.actuators import Capabilities
from meshlb.policy.reconcile import NodeView, plan
from meshlb.policy.scaler import Scaler
from meshlb.scale_model import Decision, Reading, Replica, ReplicaState, Sample, ScalePolicy
from meshlb.sim.scale.autoscaler import Seen
from meshlb.sim.scale.fleet import Fleet, Grace, Life

Forecast = Callable[[float, Mapping[str, Reading], float], Mapping[str, float]]
"""(now, readings, start-up seconds) -> signal -> what it will be one start-up time from now."""

_STATES = {
    Life.STARTING: ReplicaState.STARTING,
    Life.READY: ReplicaState.READY,
    Life.DRAINING: ReplicaState.DRAINING,
}
_ABLE = Capabilities(starts=True, chooses_victim=True)


class Own:
    """Decides once a second. A start's length counts as measured: the first replicas had one."""

    interval_s = 1.0
    grace = Grace()

    def __init__(
        self,
        policy: ScalePolicy,
        slots: int,
        name: str = "meshlb",
        forecast: Forecast | None = None,
        tell: Callable[[float, Decision], None] | None = None,
    ) -> None:
        """Begin; ``tell`` gets every decision."""
        self.name = name
        self._policy = policy
        self._slots = slots
        self._forecast = forecast
        self._tell = tell
        self._scaler = Scaler(policy, 0.0)
        self._spent_s = 0.0
        self._begun = 0

    def start(self, ready: int) -> None:
        """Begin with the replicas that there are."""
        self._scaler = Scaler(self._policy, 0.0, ready)

    def target(self, seen: Seen, now: float) -> int:
        """Return the replicas wanted."""
        readings = self._readings(seen)
        self._scaler.observe(
            Sample(
                ready=seen.ready,
                starting=seen.starting,
                draining=seen.draining,
                readings=readings,
                waiting=seen.waiting,
                curve=seen.curve,
                start_up_s=seen.start_up_s,
                slots=float(self._slots),
            ),
            now,
        )
        if self._forecast is not None:
            self._scaler.forecast = self._forecast(now, readings, seen.start_up_s)
        decision = self._scaler.decide(now, now)
        if self._tell is not None:
            self._tell(now, decision)
        return decision.target

    def _readings(self, seen: Seen) -> dict[str, Reading]:
        """Return the signals that clients' counts give; nodes tell nothing of their machines."""
        in_flight = (seen.spent_s - self._spent_s) / self.interval_s + seen.draining_in_flight
        rate = (seen.begun - self._begun) / self.interval_s
        self._spent_s, self._begun = seen.spent_s, seen.begun
        return {
            "in_flight": Reading(in_flight, seen.ready),
            "queued": Reading(float(seen.queued), seen.ready),
            "rate": Reading(rate, seen.ready),
        }

    def choose(self, fleet: Fleet, target: int, now: float) -> tuple[int, list[int], list[int]]:
        """Return what the reconciler plans."""
        live = [node for node in fleet.nodes if node.life is not Life.GONE]
        if sum(node.life is not Life.DRAINING for node in live) == target:
            return 0, [], []
        numbers = {node.node_id: node.number for node in live}
        replicas = [
            Replica(n.node_id, n.node_id, _STATES[n.life], n.ready_at or n.ordered_at) for n in live
        ]
        views = {
            node.node_id: NodeView(
                in_flight=node.in_flight,
                since=node.ready_at or node.ordered_at,
                withdrawn_since=node.drain_since,
            )
            for node in live
            if node.life is not Life.STARTING
        }
        steps = plan(target, replicas, views, _ABLE, now, self._policy)
        gone = [numbers[name] for name in (*steps.stop, *steps.withdraw)]
        return steps.start, gone, [numbers[name] for name in steps.restore]
