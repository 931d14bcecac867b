"""Waiting in a queue before several servers, by Erlang: M/M/c in the steady state."""

from __future__ import annotations

import math

EXACT_SERVERS = 100
"""Above so many servers the limit of Halfin and Whitt (1981), which is then right to 3 %."""


def wait_probability(servers: int, load: float) -> float:
    """Return the part of calls that wait (Erlang C); ``load``: busy servers, rate x service time.

    1 where the load is not below the servers.
    """
    if load <= 0.0:
        return 0.0
    if servers <= load:
        return 1.0
    if servers > EXACT_SERVERS:
        spare = (servers - load) / math.sqrt(load)
        below = 0.5 * math.erfc(-spare / math.sqrt(2.0))
        density = math.exp(-0.5 * spare * spare) / math.sqrt(2.0 * math.pi)
        return density / (density + spare * below) if density > 0.0 else 0.0
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))


def wait_tail(servers: int, rate: float, service_s: float, limit_s: float) -> float:
    """Return the part of calls that wait longer than ``limit_s``; below 0 all do."""
    if limit_s < 0.0:
        return 1.0
    load = rate * service_s
    if servers <= load:
        return 1.0
    waits = wait_probability(servers, load)
    return waits * math.exp(-(servers - load) * limit_s / service_s)


def response_tail(
    servers: int, rate: float, service_s: float, limit_s: float, scatter: float = 1.0
) -> float:
    """Return the part of calls whose wait and service take longer than ``limit_s`` together.

    ``scatter``: coefficient of variation of the service times, in [0, 1]. 1 (exponential) is exact.
    At 0 (all alike) waits are half as long as with exponential ones; in between it is interpolated.
    """
    load = rate * service_s
    if servers <= load:
        return 1.0
    scattered = alike = 0.0
    if scatter > 0.0:
        gap = servers - 1.0 - load
        times = limit_s / service_s
        none = math.exp(-times)
        both = times * none
        if abs(gap) * times > 1e-6:
            both = (none - math.exp(-(servers - load) * times)) / gap
        scattered = none + wait_probability(servers, load) * both
    if scatter < 1.0:
        alike = wait_tail(servers, rate, service_s, 2.0 * (limit_s - service_s))
    return min(1.0, scatter * scattered + (1.0 - scatter) * alike)
