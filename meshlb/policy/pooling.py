"""Draw the learned curves of a service's nodes to each other, as far as chance explains the odds.

A curve rests on tens of calls, and a call to a language model may be a hundred times as long as
another, so equal nodes look a quarter apart. Where a busy node slows down by a twentieth a call,
that much noise outweighs five calls in flight, and calls pile up where chance was kind. So each
figure is shrunk, in logarithms, to the mean of all nodes: all the way where what one sees is
scatter, not at all where they surely differ. No figure is moved by more than two of its own
standard errors, so that one slow node among a hundred equal ones stays slow.
Source: random effects (DerSimonian and Laird), Cochran's Q, limited translation (Efron and Morris).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log

from meshlb.model import SpeedCurve

SCATTER = 2.0
"""Variance of one latency beside its mean squared: 1 if exponential, more for language models."""
MOST_SHIFT = 2.0
"""In standard errors."""
_LEAST_KNEE = 0.1


def pooled(
    curves: Mapping[str, SpeedCurve | None], calls: Mapping[str, float]
) -> dict[str, SpeedCurve | None]:
    """Return the curves by node; ``calls``: how many each rests on. Unknown ones stay None."""
    known = [(key, curve) for key, curve in curves.items() if curve is not None]
    found = dict(curves)
    if len(known) < 2:
        return found
    variances = [SCATTER / max(1.0, calls[key]) for key, _ in known]
    bases = _shrunk([log(curve.base_s) for _, curve in known], variances)
    slopes = _shrunk([log(curve.slope_s) for _, curve in known], variances)
    knees = _shrunk([log(max(_LEAST_KNEE, curve.knee)) for _, curve in known], variances)
    for (key, _), base, slope, knee in zip(known, bases, slopes, knees, strict=True):
        found[key] = SpeedCurve(exp(base), exp(slope), exp(knee))
    return found


def _shrunk(values: Sequence[float], variances: Sequence[float]) -> list[float]:
    weights = [1.0 / variance for variance in variances]
    total = sum(weights)
    mean = sum([w * x for w, x in zip(weights, values, strict=True)]) / total
    apart = sum([w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)])
    by_chance = len(values) - 1.0
    spread = total - sum([w * w for w in weights]) / total
    true = max(0.0, (apart - by_chance) / spread)
    """Variance between the nodes beyond that of chance."""
    alike = by_chance / max(by_chance, apart)
    """Near 0 where the nodes surely differ."""
    weights = [1.0 / (true + variance) for variance in variances]
    mean = sum([w * x for w, x in zip(weights, values, strict=True)]) / sum(weights)
    found = []
    for value, variance in zip(values, variances, strict=True):
        shift = alike * (mean - value) * variance / (true + variance)
        most = MOST_SHIFT * variance**0.5
        found.append(value + min(most, max(-most, shift)))
    return found
