"""The plain values that controller, client, sidecar and simulator speak.

No protobuf, no clock, no I/O: ``wire`` turns these into messages and back. ``None`` means "not
measured", never zero. Spans are ``float`` seconds, utilisations fractions, instants seconds of
whatever clock the caller passes as ``now``. All are immutable.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_PICKER = "expected_delay"


class NodeState(enum.Enum):
    """Whether new calls may go to a node."""

    ACTIVE = "active"
    """Reported lately and healthy."""
    UNKNOWN = "unknown"
    """Its sidecar is silent; still called, since silence is no failure."""
    DRAINING = "draining"
    """Takes no new calls; those it has run to their end."""
    UNHEALTHY = "unhealthy"
    """Its health check fails; called only if nothing better is left."""
    EJECTED = "ejected"
    """Its calls fail or hang, as clients tell; called only if nothing better is left."""


class Health(enum.Enum):
    """What the model server's own health check said."""

    UNCHECKED = "unchecked"
    SERVING = "serving"
    NOT_SERVING = "not_serving"


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One run of one model server, as its sidecar declares it."""

    service: str
    node_id: str
    incarnation: int
    """Orders runs of one address: the greater takes it over. Microseconds of Unix time."""
    address: str
    authority: str = ""
    """HTTP/2 authority and TLS name; empty means the address."""
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    slots: int | None = None
    """Calls served at once without queueing, as declared; None: to be learned."""


@dataclass(frozen=True, slots=True)
class LatencyBucket:
    """Sum of latencies of calls that found about ``in_flight`` others at the node."""

    in_flight: int
    count: int
    sum_s: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One node at one instant. Counters and ``latency`` run from the server's start."""

    node: NodeInfo
    observe_time_s: float | None = None
    """Unix time at the reporter; only used to warn of clock skew."""
    health: Health = Health.UNCHECKED
    in_flight: int | None = None
    queued: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    latency: tuple[LatencyBucket, ...] = ()
    host_cpu: float | None = None
    host_memory: float | None = None
    process_cpu_cores: float | None = None
    process_memory_bytes: int | None = None
    gpu: float | None = None
    gpu_memory: float | None = None
    kv_cache: float | None = None
    application: float | None = None
    requests_per_s: float | None = None
    errors_per_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    time_to_first_token_s: float | None = None
    named_metrics: Mapping[str, float] = field(default_factory=dict)
    connections: int | None = None
    """Connections to the node's address, the sidecar's own not counted; told while it drains."""


class NodeCalls(NamedTuple):
    """What one client saw of one node; counters run from the client's start.

    A named tuple, made in a third of the time: controllers make more of these than of all else.
    """

    node_id: str
    in_flight: int
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    in_flight_time_s: float = 0.0
    """Calls in flight summed over time: n of them for t seconds add n x t."""
    suspicion: str = ""
    """Why the client leaves the node alone; empty: it does not."""


@dataclass(frozen=True, slots=True)
class CallReport:
    """One client at one instant."""

    service: str
    client_id: str
    sequence: int
    nodes: tuple[NodeCalls, ...] = ()
    waiting: int = 0
    """Calls that wait in the stub because there is no node."""
    applied: tuple[int, int] | None = None
    """Epoch and version of the table in effect when the calls were counted; None: none."""


@dataclass(frozen=True, slots=True)
class SpeedCurve:
    """Expected latency by occupancy: base + slope x max(0, q + 1 - knee), q others in flight.

    A server of c slots and mean service time s has base s, slope s/c, knee c; an engine that
    batches has a knee near 0 and a small slope. ``1 / slope_s`` is its capacity in calls a second.
    """

    base_s: float
    slope_s: float
    knee: float

    def latency_s(self, others: float) -> float:
        """Return the expected latency, in seconds, of a call that finds ``others`` in flight."""
        return self.base_s + self.slope_s * max(0.0, others + 1.0 - self.knee)


@dataclass(frozen=True, slots=True)
class TableNode:
    """One node that a client may call."""

    node_id: str
    incarnation: int
    address: str
    authority: str = ""
    state: NodeState = NodeState.ACTIVE
    weight: float = 1.0
    """Relative share for pickers that go by weight; positive, mean over the table about 1."""
    curve: SpeedCurve | None = None
    slots: int | None = None
    zone: str = ""
    limit: int | None = None
    """Calls of one client there at once while another node has room; None: no limit."""


@dataclass(frozen=True, slots=True)
class Priority:
    """One class of calls."""

    name: str
    floor: float
    """Part of the limit that the class may always use."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls of a service may be in flight, all clients together."""

    in_flight: int | None
    """Of the whole service; None: no limit."""
    per_node: int | None
    """At each node; None: no limit."""
    waiting: int
    """Calls that may wait for room in one client; more are shed."""
    priorities: tuple[Priority, ...] = ()
    """Classes, the most important first; none: all calls are alike."""
    clients: int = 1
    """Clients there were when the table was made."""

    def capacity(self, nodes: int) -> int | None:
        """Return the calls that so many nodes may have in flight together; None: any number."""
        most = [] if self.in_flight is None else [self.in_flight]
        most += [] if self.per_node is None else [self.per_node * nodes]
        return min(most, default=None)


@dataclass(frozen=True, slots=True)
class Table:
    """All that a client needs to pick, whole each time."""

    service: str
    controller_id: str
    epoch: int
    version: int
    complete: bool
    nodes: tuple[TableNode, ...]
    picker: str = ""
    """Name of the picker to use unless the channel names one; empty: the client's default."""
    idempotent_methods: tuple[str, ...] = ()
    """Full method names, or prefixes ending in "/", that may be sent twice."""
    starting: bool = False
    """More nodes start, so that a call which every node refuses has one to wait for."""
    limits: CallLimits | None = None
    """Of calls in flight; None: none."""


@dataclass(frozen=True, slots=True)
class LoadShare:
    """What only a controller can know, for one client."""

    share: float | None
    """The client's smoothed part of all calls in flight on its nodes, in (0, 1]."""
    in_flight: Mapping[str, float]
    """All clients' calls in flight, by node_id."""
    counted_sequence: int
    """Last CallReport of this client that the counts contain; 0: none."""
    interval_s: float
    """When the next one may be expected; counts older than 5 of these are stale."""
    admitted: float | None = None
    """The client's part of the calls that may be in flight; None: as before, or any."""
