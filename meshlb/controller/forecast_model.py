"""The forecaster's own process: a line of JSON in, a line out; ends with its standard input.

Holt-Winters from statsmodels: level, a trend that fades, and a daily season once two days are
known. In a process of its own since a fit takes longer than a tick may, and so that numerical
libraries stay out of the controller.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence

LEAST_VALUES = 10
DAY = 1440
"""Values a day: one a minute."""
NICE = 10


def forecast(values: Sequence[float], steps: int) -> float | None:
    """Return the value expected ``steps`` minutes after the last; None: too few are known."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    if len(values) < LEAST_VALUES:
        return None
    seasonal = len(values) >= 2 * DAY
    model = ExponentialSmoothing(
        values,
        trend="add",
        damped_trend=True,
        seasonal="add" if seasonal else None,
        seasonal_periods=DAY if seasonal else None,
        initialization_method="heuristic" if seasonal else "estimated",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it might fit better is no news
        expected = float(model.fit().forecast(max(1, steps))[-1])
    return max(0.0, expected) if abs(expected) < float("inf") else None


def main() -> None:
    """Answer until standard input ends."""
    os.nice(NICE)
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, float | str | bool | None]
        try:
            answer = {"forecast": forecast(asked["values"], asked["steps"])}
        except ImportError:
            answer = {"missing": True}
        except Exception as error:
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
