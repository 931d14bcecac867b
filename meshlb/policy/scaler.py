"""One service's scaling over time: samples in, decisions out, and what is remembered between them.

``now`` is any monotonic clock's seconds, the same throughout; ``unix_now`` goes into records.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshlb.model import SpeedCurve
from meshlb.policy.decide_scale import judge
from meshlb.policy.scale_load import capacity
from meshlb.policy.scale_memory import ScaleMemory
from meshlb.policy.service_time import ServiceTime
from meshlb.policy.windows import SignalHistory
from meshlb.scale_model import Decision, Inputs, Manual, Pause, Sample, ScalePolicy

IDLE_BELOW = 0.01
"""Fewer calls in flight are none: smoothed counts fade out, and never end."""

BUSY = 0.5
"""A lower capacity is believed of nodes that have this part of the known one in flight."""

_NOTHING = Sample(ready=0, starting=0, draining=0, readings={})


class Scaler:
    """Decides for one service. Written to by one thread."""

    def __init__(
        self,
        policy: ScalePolicy,
        now: float,
        previous: int | None = None,
        hold_in: tuple[float, str] | None = None,
    ) -> None:
        """Begin; ``previous`` is the target so far, None if unknown: then the nodes that are there.

        ``hold_in``: until when (as ``now``) nothing is taken away, and why.
        """
        self._policy = policy
        self.manual: Manual | None = None
        self.pause = Pause()
        self.forecast: Mapping[str, float] = {}
        """Signal -> what it will be one start-up time from now; set by the shell."""
        self.hold_in = hold_in
        self.target: int | None = previous
        """Nodes wanted; None: nothing is decided yet."""
        self._adopts = previous is None
        self._sample = _NOTHING
        self._history = SignalHistory(policy.stable_window_s, policy.panic_window_s)
        self._memory: ScaleMemory | None = None if previous is None else ScaleMemory(previous, now)
        self._idle_since: float | None = None
        self._curve: SpeedCurve | None = None
        self._slots: float | None = None
        self._service_time = ServiceTime()

    @property
    def policy(self) -> ScalePolicy:
        """The policy in effect."""
        return self._policy

    @policy.setter
    def policy(self, policy: ScalePolicy) -> None:
        old, self._policy = self._policy, policy
        if (old.stable_window_s, old.panic_window_s) != (
            policy.stable_window_s,
            policy.panic_window_s,
        ):
            self._history = SignalHistory(policy.stable_window_s, policy.panic_window_s)

    def observe(self, sample: Sample, now: float) -> None:
        """Take in what is known at this tick."""
        self._sample = sample
        self._history.observe(sample.readings, now)
        self._service_time.observe(sample.readings, now)
        in_flight = sample.readings.get("in_flight")
        total = None if in_flight is None else in_flight.total
        if sample.waiting > 0 or total is None or total > IDLE_BELOW:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        if sample.slots is not None:
            self._slots = sample.slots
        self._learn(sample, total)

    def _learn(self, sample: Sample, in_flight: float | None) -> None:
        """Keep what is known of the mean node while nobody calls, or calls are few.

        A curve learned under little load tells of little capacity only because no more was seen.
        """
        new, known = sample.curve, self._curve
        if new is None:
            return
        if known is not None and capacity(new) < capacity(known):
            each = (in_flight or 0.0) / max(1, sample.ready)
            if each < BUSY * capacity(known):
                return
        self._curve = new

    def inputs(self, now: float, unix_now: float) -> Inputs:
        """Return all that a decision now would rest on."""
        sample, policy = self._sample, self._policy
        held = self.hold_in is not None and now < self.hold_in[0]
        previous = self._previous(held)
        if self._memory is None:
            self._memory = ScaleMemory(previous, now)
        memory = self._memory
        seen = self._history.seen(now)
        since = memory.panicking_since(policy, now)
        base_out, base_in = memory.rate_bases(policy, previous, now)
        return Inputs(
            now=unix_now,
            ready=sample.ready,
            starting=sample.starting,
            draining=sample.draining,
            previous=previous,
            signals=seen.signals,
            waiting=sample.waiting,
            reported=sample.reported,
            curve=self._curve,
            start_up_s=sample.start_up_s,
            forecast=dict(self.forecast),
            growth=seen.growth,
            variance=seen.variance,
            manual=self.manual,
            pause=self.pause,
            panic_since=None if since is None else unix_now - (now - since),
            panic_most=memory.panic_most,
            recent_most=memory.recent_most(policy, now),
            recent_least=memory.recent_least(policy, now),
            rate_base_out=base_out,
            rate_base_in=base_in,
            idle_s=None if self._idle_since is None else now - self._idle_since,
            hold_in=self.hold_in[1] if held and self.hold_in is not None else "",
            slots=self._slots,
            service_s=self._service_time.seconds(),
            served=self._service_time.a_node(),
        )

    def decide(self, now: float, unix_now: float) -> Decision:
        """Decide, and remember it: the target is the previous one of the next decision."""
        judged = judge(self._policy, self.inputs(now, unix_now))
        decision = judged.decision
        assert self._memory is not None
        self._memory.take(
            judged.wanted, decision.target, panic=decision.panic, surge=judged.surge, now=now
        )
        self.target = decision.target
        if decision.target < decision.inputs.previous:
            self._adopts = False  # taken away on purpose, so what still drains is not taken over
        return decision

    def _previous(self, held: bool) -> int:
        """Return the target so far; nodes found after a start without one are taken over."""
        there = self._sample.ready + self._sample.starting
        if self.target is None:
            return there
        if self._adopts and held:
            return max(self.target, there)
        return self.target
