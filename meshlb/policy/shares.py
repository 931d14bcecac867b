"""The classic formulas for the share R_i of node i, as they are meant; each set sums to 1.

Some are often printed wrong; ``docs/algorithms.md`` shows how, with a worked case. Pickers choose
call by call; these are the shares that they tend to, for figures, checks and weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshlb.errors import InvalidInputError


def round_robin(count: int) -> list[float]:
    """Return 1/n for each of ``count`` nodes."""
    if count < 1:
        raise InvalidInputError(f"count = {count}: at least 1")
    return [1.0 / count] * count


def least_connections(loads: Sequence[float], most: float) -> list[float]:
    """Return shares in proportion to what is free of ``most``, R_i ~ L_max - L_i.

    With every node full, all shares are equal.
    """
    _check("load", loads, zero=True)
    return _normalised([max(0.0, most - load) for load in loads])


def response_time(responses_s: Sequence[float]) -> list[float]:
    """Return shares in proportion to 1/r_i, r_i in seconds at the present load."""
    _check("response time", responses_s)
    least = min(responses_s)
    return _normalised([least / r for r in responses_s])


def dynamic_weight(weights: Sequence[float]) -> list[float]:
    """Return shares in proportion to the weights."""
    _check("weight", weights)
    return _normalised(weights)


def water_filling(
    capacities: Sequence[float], loads: Sequence[float], demand: float
) -> list[float]:
    """Return the shares of ``demand`` that make the greatest utilisation least.

    Minimise max (L_i + R_i x demand) / C_i, with R_i >= 0 summing to 1. Closed form: nodes are
    filled like connected vessels up to one level u, R_i x demand = max(0, u x C_i - L_i). Loads,
    capacities and demand are in one unit, such as calls a second.
    """
    _check("capacity", capacities)
    _check("load", loads, zero=True)
    _check("demand", [demand])
    order = sorted(range(len(capacities)), key=lambda i: loads[i] / capacities[i])
    filled = capacity = 0.0
    level = 0.0
    for place, index in enumerate(order):
        filled += loads[index]
        capacity += capacities[index]
        level = (demand + filled) / capacity
        if place + 1 == len(order):
            break
        following = order[place + 1]
        if level <= loads[following] / capacities[following]:
            break
    return _normalised([max(0.0, level * c - o) for c, o in zip(capacities, loads, strict=True)])


def _normalised(parts: Sequence[float]) -> list[float]:
    total = sum(parts)
    if total <= 0.0:
        return [1.0 / len(parts)] * len(parts)
    return [part / total for part in parts]


def _check(name: str, values: Sequence[float], *, zero: bool = False) -> None:
    if not values:
        raise InvalidInputError(f"{name}: at least one is needed")
    faults = [
        f"{name}[{index}] = {value}: a finite number {'of 0 or more' if zero else 'above 0'}"
        for index, value in enumerate(values)
        if not (value >= 0.0 if zero else value > 0.0) or value == float("inf")
    ]
    if faults:
        raise InvalidInputError(faults)
