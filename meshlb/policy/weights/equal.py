"""The same weight for every node: for equal nodes, and to switch weighting off."""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.weights import Seen


@dataclass(frozen=True, slots=True)
class Params:
    """No parameters."""


def weight(seen: Seen, params: Params) -> float | None:  # noqa: ARG001
    """Return 1."""
    return 1.0
