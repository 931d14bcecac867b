"""The plain values of scaling that rules, controller, actuators, simulator and command line speak.

No protobuf, no clock, no I/O. ``None`` means "not measured", never zero. Spans are ``float``
seconds. ``Inputs`` with ``ScalePolicy`` is all that a decision rests on: both are kept in its
record, so that the same code gives the same decision again, bit for bit.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlb.model import SpeedCurve

ADDITIVE = ("in_flight", "queued", "tokens", "rate", "cpu_cores")
"""Signals whose sum over the nodes is the service's load, however many nodes there are.

``in_flight``: calls in flight at nodes and waiting in stubs. ``queued``: of these, those that no
node serves yet. ``tokens``: tokens outstanding. ``rate``: calls begun a second. ``cpu_cores``:
cores in use by the servers.
"""

BOUNDED = ("cpu", "memory", "gpu", "gpu_memory", "kv_cache")
"""Signals of a node in [0, 1]: they saturate, so they guard and do not compute. Their sum over the
nodes is a load in units of nodes."""

LATENCIES = ("response_time", "time_to_first_token")
"""Signals in seconds: mean over calls."""

SIGNALS = (*ADDITIVE, *BOUNDED, *LATENCIES)


class Verb(enum.Enum):
    """How one want joins the others."""

    SET = "set"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    REJECT = "reject"
    """No change now."""


class Mode(enum.Enum):
    """Whether decisions are carried out."""

    OBSERVE = "observe"
    ACTIVE = "active"


class Vertical(enum.Enum):
    """What is done with the sizes that nodes should have."""

    OFF = "off"
    RECOMMEND = "recommend"
    APPLY = "apply"


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule of a policy, as configured."""

    kind: str
    """File in ``meshlb/policy/rules``, or an entry point of ``meshlb.rules``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """Name in records; empty: the kind."""


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """How one service is scaled; ranges are in ``scale.proto`` and ``docs/scaling.md``."""

    service: str
    mode: Mode = Mode.ACTIVE
    min: int = 1
    max: int = 10
    rules: tuple[RuleSpec, ...] = (RuleSpec("reserve"),)
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    scale_in_window_s: float = 300.0
    scale_out_window_s: float = 0.0
    tolerance: float = 0.1
    scale_out_step: int = 4
    scale_in_step: int | None = None
    rate_period_s: float = 15.0
    consolidation_limit: float = 0.8
    start_limit_s: float = 600.0
    drain_limit_s: float | None = None
    idle_limit_s: float = 300.0
    vertical: Vertical = Vertical.RECOMMEND


@dataclass(frozen=True, slots=True)
class Manual:
    """What an operator or a program has set by hand."""

    count: int | None = None
    min: int | None = None
    max: int | None = None
    expires_at: float | None = None
    """Unix seconds; None: until it is ended."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Directions that are held."""

    scale_out: bool = False
    scale_in: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal over all nodes at one instant."""

    total: float | None
    """Sum over the nodes that told it (``LATENCIES``: mean over calls); None: nobody did."""
    measured: int = 0
    """Nodes that told it."""
    missing: int = 0
    """Nodes that should have and did not: silent ones, not those that never had it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known of a service at one tick: what ``Scaler.observe`` takes in."""

    ready: int
    """Replicas that serve (nodes of state active or unknown)."""
    starting: int
    """Replicas ordered and not yet ready, within the policy's ``start_limit_s``."""
    draining: int
    readings: Mapping[str, Reading]
    """By signal; a signal that no node has ever told is left out."""
    waiting: int = 0
    """Calls that wait in stubs because there is no node; part of ``in_flight`` already."""
    reported: float = 1.0
    """Part of the known nodes whose report is fresh, in [0, 1]; 1 without nodes."""
    curve: SpeedCurve | None = None
    """The mean node: mean base and knee, mean capacity 1/slope; None: none learned yet."""
    start_up_s: float | None = None
    """From the order to the first healthy report: 90th percentile measured; None: none yet."""
    slots: float | None = None
    """Slots that nodes declare, mean; None: none does."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One signal as a decision sees it."""

    stable: float | None
    """Mean of the totals over the stable window."""
    panic: float | None
    """Mean over the panic window."""
    last: float | None
    mean: float | None
    """Stable mean a node (total / measured); for latencies the same as ``stable``."""
    measured: int
    missing: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that one decision rests on, besides the policy. Written whole into its record."""

    now: float
    """Unix seconds."""
    ready: int
    starting: int
    draining: int
    previous: int
    """Target before this decision."""
    signals: Mapping[str, Observed]
    waiting: int = 0
    reported: float = 1.0
    curve: SpeedCurve | None = None
    start_up_s: float | None = None
    forecast: Mapping[str, float] = field(default_factory=dict)
    """Signal -> what a forecast says it will be one start-up time from now; empty: none."""
    growth: Mapping[str, float] = field(default_factory=dict)
    """Signal -> its rise a second over the stable window (negative: it falls; 0: no clear one)."""
    variance: Mapping[str, float] = field(default_factory=dict)
    """Signal -> variance of its totals over the stable window."""
    manual: Manual | None = None
    pause: Pause = Pause()
    panic_since: float | None = None
    """Unix seconds; None: calm."""
    panic_most: int = 0
    """Greatest target since the panic began."""
    recent_most: int = 0
    """Greatest wanted count within ``scale_in_window_s`` before now."""
    recent_least: int | None = None
    """Least wanted count within ``scale_out_window_s`` before now; None: no such window."""
    rate_base_out: int = 0
    """Least target within ``rate_period_s`` before now."""
    rate_base_in: int = 0
    """Greatest target within ``rate_period_s`` before now."""
    idle_s: float | None = None
    """Since the last call was in flight or waiting; None: there are some now, or unknown."""
    hold_in: str = ""
    """Why scale-in is held, such as a controller that has just started; empty: it is not."""
    slots: float | None = None
    """Slots that nodes declare, mean; None: none does."""
    service_s: float | None = None
    """Mean time that a call is served, waiting excluded, over some minutes; None: not known."""
    served: float | None = None
    """Mean calls that a node served meanwhile; None: not known."""


@dataclass(frozen=True, slots=True)
class Want:
    """What one rule wants."""

    rule: str
    verb: Verb | None
    """None: it has nothing to say, such as for a missing signal, which blocks scale-in."""
    count: int | None
    reason: str
    utilization: float | None = None
    """Load by the rule's objective with ``previous`` nodes, in units of the objective: 0.9 is 90 %.
    The consolidation veto goes by it; None: the rule has no such figure."""


@dataclass(frozen=True, slots=True)
class Clamp:
    """One step from the merged wants to the target."""

    name: str
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A target with all its reasons."""

    service: str
    target: int
    reason: str
    """In one sentence, for a person on call."""
    wants: tuple[Want, ...]
    clamps: tuple[Clamp, ...]
    raw: int
    """Merged wants before any clamp: what windows remember."""
    least: int
    """Bounds in effect, manual ones and schedules included."""
    most: int
    panic: bool
    inputs: Inputs
    policy: ScalePolicy


class ReplicaState(enum.Enum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    LOST = "lost"
    """Gone without being told; it is replaced."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as its actuator sees it."""

    replica_id: str
    node_id: str
    """Empty: not known yet."""
    state: ReplicaState
    since: float
    """Unix seconds."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one node should have, from its use; None: too little is known."""

    node_id: str
    """Empty: what a new node should have."""
    slots: int | None
    cpu_cores: float | None
    memory_bytes: int | None
    current_slots: int | None
    current_cpu_cores: float | None
    reason: str
    applied: bool = False
