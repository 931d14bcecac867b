"""What one decision remembers of those before: recent wants, recent targets, panic.

Shared by the scaler and by previews, so that both clamp alike. Extremes over a sliding window are
exact and take O(1) a decision: of older values only those are kept that can still be the extreme.
"""

from __future__ import annotations

from collections import deque

from meshlb.scale_model import ScalePolicy


class _Extreme:
    """Greatest (sign 1) or least (sign -1) count within the last ``span_s`` seconds."""

    __slots__ = ("_kept", "_sign")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._kept: deque[tuple[float, int]] = deque()

    def add(self, count: int, now: float) -> None:
        while self._kept and self._sign * self._kept[-1][1] <= self._sign * count:
            self._kept.pop()
        self._kept.append((now, count))

    def value(self, span_s: float, now: float) -> int | None:
        while self._kept and self._kept[0][0] < now - span_s:
            self._kept.popleft()
        return self._kept[0][1] if self._kept else None


class ScaleMemory:
    """Memory of one service's decisions. Instants are of one monotonic clock."""

    def __init__(self, previous: int, now: float) -> None:
        self.panic_since: float | None = None
        self.panic_most = 0
        self._surge_at = now
        self._most_wanted, self._least_wanted = _Extreme(1), _Extreme(-1)
        self._most_target, self._least_target = _Extreme(1), _Extreme(-1)
        # the target so far was wanted just now: a restart begins the windows anew
        self._most_wanted.add(previous, now)
        self._least_wanted.add(previous, now)
        self._most_target.add(previous, now)
        self._least_target.add(previous, now)

    def take(self, wanted: int, target: int, *, panic: bool, surge: bool, now: float) -> None:
        """Remember one decision."""
        self._most_wanted.add(wanted, now)
        self._least_wanted.add(wanted, now)
        self._most_target.add(target, now)
        self._least_target.add(target, now)
        if surge:
            self._surge_at = now
        if not panic:
            self.panic_since, self.panic_most = None, 0
        elif self.panic_since is None:
            self.panic_since, self.panic_most = now, target
        else:
            self.panic_most = max(self.panic_most, target)

    def panicking_since(self, policy: ScalePolicy, now: float) -> float | None:
        """Return since when; None once a stable window has passed without a surge."""
        if self.panic_since is not None and now - self._surge_at >= policy.stable_window_s:
            self.panic_since, self.panic_most = None, 0
        return self.panic_since

    def recent_most(self, policy: ScalePolicy, now: float) -> int:
        """Return the greatest want within the scale-in window; 0: none remembered."""
        return self._most_wanted.value(policy.scale_in_window_s, now) or 0

    def recent_least(self, policy: ScalePolicy, now: float) -> int | None:
        """Return the least want within the scale-out window; None: there is no such window."""
        if policy.scale_out_window_s <= 0:
            self._least_wanted.value(0.0, now)
            return None
        return self._least_wanted.value(policy.scale_out_window_s, now)

    def rate_bases(self, policy: ScalePolicy, previous: int, now: float) -> tuple[int, int]:
        """Return the least and the greatest target within the rate period."""
        least = self._least_target.value(policy.rate_period_s, now)
        most = self._most_target.value(policy.rate_period_s, now)
        return (
            previous if least is None else min(least, previous),
            previous if most is None else max(most, previous),
        )
