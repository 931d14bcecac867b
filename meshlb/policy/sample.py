"""What a controller's records say of one service at one tick, as a Sample.

Load is what clients count: calls in flight at nodes, those that drain included, and calls that wait
in stubs. Figures of machines come from the sidecars of nodes that take calls. Nobody has ever told
a figure: it is left out. Somebody did and is silent now: it is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from meshlb.model import LoadReport, NodeState, SpeedCurve
from meshlb.policy.node_record import NodeRecord
from meshlb.policy.service_record import ServiceRecord
from meshlb.scale_model import Reading, Sample

TOKENS = "tokens_outstanding"
"""Named metric of a report that the signal ``tokens`` is the sum of."""

_TOLD: tuple[tuple[str, Callable[[LoadReport], float | None]], ...] = (
    ("tokens", lambda r: r.named_metrics.get(TOKENS)),
    ("cpu_cores", lambda r: r.process_cpu_cores),
    ("cpu", lambda r: r.host_cpu),
    ("memory", lambda r: r.host_memory),
    ("gpu", lambda r: r.gpu),
    ("gpu_memory", lambda r: r.gpu_memory),
    ("kv_cache", lambda r: r.kv_cache),
)


def sample_of(record: ServiceRecord, now: float, starting: int, start_up_s: float | None) -> Sample:
    """Return what is known of a service, after the tick's ``Fleet.decide``.

    ``starting``: replicas ordered, not yet healthy, and within the policy's limit.
    """
    by_state: dict[NodeState, list[NodeRecord]] = {state: [] for state in NodeState}
    for node_id, node in record.nodes.items():
        state, _ = record.states.get(node_id, (NodeState.UNKNOWN, ""))
        by_state[state].append(node)
    fresh = by_state[NodeState.ACTIVE] + by_state[NodeState.UNHEALTHY]
    silent = list(by_state[NodeState.UNKNOWN])
    for node in by_state[NodeState.EJECTED]:
        (fresh if now - node.report_at <= record.settings.fresh_s else silent).append(node)
    live = [c for c in record.clients.values() if c.live(now, record.lease_s)]
    waiting = sum(c.waiting for c in live)
    readings = {
        name: reading
        for name, told in _TOLD
        if (reading := _reading(told, fresh, silent)) is not None
    }
    readings |= _calls(record, fresh, silent, waiting, bool(live))
    known = len(fresh) + len(silent)
    slots = [n.declared_slots for n in fresh + silent if n.declared_slots is not None]
    return Sample(
        ready=len(by_state[NodeState.ACTIVE]) + len(by_state[NodeState.UNKNOWN]),
        starting=starting,
        draining=len(by_state[NodeState.DRAINING]),
        readings=readings,
        waiting=waiting,
        reported=len(fresh) / known if known else 1.0,
        curve=_mean_curve(record),
        start_up_s=start_up_s,
        slots=fmean(slots) if slots else None,
    )


def _reading(
    told: Callable[[LoadReport], float | None],
    fresh: Sequence[NodeRecord],
    silent: Sequence[NodeRecord],
) -> Reading | None:
    values = [v for v in _values(told, fresh) if math.isfinite(v)]
    missing = sum(1 for _ in _values(told, silent))
    if not values and not missing:
        return None
    return Reading(sum(values) if values else None, len(values), missing)


def _values(
    told: Callable[[LoadReport], float | None], nodes: Iterable[NodeRecord]
) -> Iterable[float]:
    for node in nodes:
        value = None if node.report is None else told(node.report)
        if value is not None:
            yield value


def _calls(
    record: ServiceRecord,
    fresh: Sequence[NodeRecord],
    silent: Sequence[NodeRecord],
    waiting: int,
    counted: bool,
) -> dict[str, Reading]:
    """Return what is told of calls; ``counted``: a client reports."""
    nodes = len(fresh) + len(silent)
    # without clients only servers count, and a silent one leaves a gap
    uncounted = 0 if counted else sum(1 for _ in _values(lambda r: r.in_flight, silent))
    readings = {
        "in_flight": Reading(sum(record.in_flight.values()) + waiting, nodes - uncounted, uncounted)
    }
    queued, measured = float(waiting), 0
    for node in (*fresh, *silent):
        beyond = _queued(node, record.in_flight.get(node.info.node_id, 0.0))
        if beyond is not None:
            queued, measured = queued + beyond, measured + 1
    if measured or waiting:
        readings["queued"] = Reading(queued, measured, 0)
    flow = record.flow
    if counted and flow.rate is not None:
        readings["rate"] = Reading(flow.rate, nodes, 0)
    elif (told := _reading(lambda r: r.requests_per_s, fresh, silent)) is not None:
        readings["rate"] = told
    if counted:
        readings["response_time"] = Reading(flow.response_time_s, nodes, 0)
    first = list(_values(lambda r: r.time_to_first_token_s, fresh))
    if first:
        readings["time_to_first_token"] = Reading(fmean(first), len(first), 0)
    return readings


def _queued(node: NodeRecord, in_flight: float) -> float | None:
    """Return the calls that wait at a node: as it tells, else those beyond its slots."""
    told = None if node.report is None else node.report.queued
    if told is not None:
        return float(told)
    return None if node.info.slots is None else max(0.0, in_flight - node.info.slots)


def _mean_curve(record: ServiceRecord) -> SpeedCurve | None:
    """Return the mean node by the curves that clients have: base, knee and capacity 1/slope."""
    nodes = () if record.table is None else record.table.nodes
    curves = [n.curve for n in nodes if n.curve is not None and n.node_id in record.nodes]
    if not curves:
        return None
    return SpeedCurve(
        fmean(c.base_s for c in curves),
        1.0 / fmean(1.0 / c.slope_s for c in curves),
        fmean(c.knee for c in curves),
    )
