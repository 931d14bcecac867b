"""gRPC's own weight (gRFC A58): qps / (utilisation + errors/qps x penalty).

For servers that report ORCA figures, and for a fleet that is to be weighted as gRPC's
``weighted_round_robin`` would. Blackout and expiry are A58's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.policy.weights import Seen

LEAST_USED = 1e-6
"""A use smaller than this is no measurement; it would make a weight without bound."""


@dataclass(frozen=True, slots=True)
class Params:
    """Defaults of A58."""

    blackout_s: float = 10.0
    """Reports must have come for so long before they count; 0: at once."""
    expiry_s: float = 180.0
    """A report older than this is forgotten."""
    error_penalty: float = 1.0
    """How much a failing part of the calls adds to the utilisation."""


def weight(seen: Seen, params: Params) -> float | None:
    """Return A58's weight; None without qps and utilisation above 0, in blackout, or expired.

    None too where the figures leave nothing that a float can hold.
    """
    qps, used = seen.requests_per_s, seen.utilization
    if not qps or not used or seen.reported_for_s < params.blackout_s:
        return None
    if seen.report_age_s > params.expiry_s:
        return None
    penalised = used + (seen.errors_per_s or 0.0) / qps * params.error_penalty
    return qps / max(penalised, LEAST_USED) or None
