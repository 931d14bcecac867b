"""One model server with continuous batching, in virtual time.

The arithmetic of the demo's emulated engine: each iteration takes a time that grows with the
running requests, prompts go in by chunks between, all others advance by one token, and beyond the
slots requests wait in line. Iterations that are all alike are gone through in one jump, which ends
early when a request comes that has a slot.
"""

from __future__ import annotations

import heapq
import math
import tomllib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from meshlb.errors import InvalidInputError

_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class EngineParams:
    """How fast a server is; the demo's by default. In a TOML file: these keys at the top."""

    iteration_s: float = 0.006
    """Of one iteration, however many run."""
    request_s: float = 0.000_35
    """More for each running request."""
    prefill_tokens_per_s: float = 8000.0
    prefill_chunk: int = 512
    """Prompt tokens taken in with one iteration at the most."""
    slots: int = 16
    """Requests that run at once."""

    def unloaded_s(self, prompt_tokens: int, tokens: int) -> float:
        """Return the time of a request that has a server to itself."""
        prompt = max(1, prompt_tokens)
        iterations = math.ceil(prompt / self.prefill_chunk) + max(0, tokens - 1)
        return iterations * (self.iteration_s + self.request_s) + prompt / self.prefill_tokens_per_s

    def work_s(self, prompt_tokens: int, tokens: int) -> float:
        """Return the time that a request takes of a server whose slots are full."""
        per_token = self.iteration_s / self.slots + self.request_s
        return max(1, prompt_tokens) / self.prefill_tokens_per_s + tokens * per_token


_RANGES: dict[str, tuple[float, float]] = {
    "iteration_s": (1e-6, 100.0),
    "request_s": (0.0, 100.0),
    "prefill_tokens_per_s": (1.0, 1e12),
    "prefill_chunk": (1, 1_000_000),
    "slots": (1, 100_000),
}


def load_params(path: str | Path) -> EngineParams:
    """Read a TOML file. Raises InvalidInputError with all that is wrong in it."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"engine = {str(path)!r}: a TOML file ({error})") from error
    whole = {one.name for one in fields(EngineParams) if one.type == "int"}
    faults = []
    for key, value in raw.items():
        if key not in _RANGES:
            faults.append(f"engine.{key} = {value!r}: not a key; known: {', '.join(_RANGES)}")
            continue
        least, most = _RANGES[key]
        kind = int if key in whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            number = "a whole number" if key in whole else "a number"
            faults.append(f"engine.{key} = {value!r}: {number} from {least:g} to {most:g}")
    if faults:
        raise InvalidInputError(faults)
    return EngineParams(**raw)


class Call:
    """One request on its way."""

    __slots__ = ("arrived", "client", "done_at", "limit_s", "prompt_left", "tokens")

    def __init__(self, arrived: float, prompt_tokens: int, tokens: int, limit_s: float) -> None:
        self.arrived = arrived
        self.prompt_left = max(1, prompt_tokens)
        self.tokens = tokens
        self.limit_s = limit_s
        """It is in time if it takes no longer."""
        self.done_at: float | None = None
        """None: not done, or cut off."""
        self.client = 0


class Engine:
    """The requests of one server. ``ends`` is when to call ``advance``; None: idle."""

    __slots__ = (
        "_began", "_done", "_finishing", "_params", "_prefill", "_running", "_sequence", "_step_s",
        "_steps", "_waiting", "ends",
    )  # fmt: skip

    def __init__(self, params: EngineParams) -> None:
        self._params = params
        self._running: list[tuple[int, int, Call]] = []
        """Heap of those that make tokens, by the iteration that makes their last."""
        self._prefill: deque[Call] = deque()
        """Those with prompt left, in order."""
        self._waiting: deque[Call] = deque()
        self._done = 0
        """Iterations gone through."""
        self._sequence = 0
        self._began = 0.0
        self._steps = 0
        """Equal iterations in the present jump."""
        self._step_s = 0.0
        self.ends: float | None = None

    def calls(self) -> Iterator[Call]:
        """Yield all that is in flight."""
        for _, _, call in self._running:
            yield call
        yield from self._prefill
        yield from self._waiting

    @property
    def waiting(self) -> int:
        """Calls in line for a slot."""
        return len(self._waiting)

    def add(self, call: Call, now: float) -> bool:
        """Take a request in; return whether ``ends`` changed."""
        self._waiting.append(call)
        if self.ends is None:
            self._start(now)
            return True
        if self._steps > 1 and len(self._running) + len(self._prefill) < self._params.slots:
            steps = max(1, math.ceil((now - self._began) / self._step_s - _EDGE))
            if steps < self._steps:
                self._steps = steps
                self.ends = self._began + steps * self._step_s
                return True
        return False

    def advance(self) -> list[Call]:
        """Go on to ``ends``; return those that are done then."""
        now = self.ends
        assert now is not None
        self._done += self._steps
        done: list[Call] = []
        room = self._params.prefill_chunk * self._steps
        prefill = self._prefill
        while prefill and room:
            call = prefill[0]
            chunk = min(room, call.prompt_left)
            call.prompt_left -= chunk
            room -= chunk
            if call.prompt_left:
                break
            prefill.popleft()
            if call.tokens <= 1:
                done.append(call)
            else:
                self._sequence += 1
                heapq.heappush(self._running, (self._done + call.tokens - 1, self._sequence, call))
        running = self._running
        while running and running[0][0] <= self._done:
            done.append(heapq.heappop(running)[2])
        for call in done:
            call.done_at = now
        self._start(now)
        return done

    def _start(self, at: float) -> None:
        """Begin the next jump, or fall idle."""
        params, running, prefill = self._params, self._running, self._prefill
        waiting = self._waiting
        count = len(running) + len(prefill)
        while waiting and count < params.slots:
            prefill.append(waiting.popleft())
            count += 1
        if not count:
            self.ends = None
            return
        step_s = params.iteration_s + params.request_s * count
        steps = running[0][0] - self._done if running else 0
        if prefill:
            chunk = params.prefill_chunk
            whole = prefill[0].prompt_left // chunk
            if whole:  # the first in line takes whole chunks, all alike
                steps = min(steps, whole) if running else whole
                step_s += chunk / params.prefill_tokens_per_s
            else:
                steps = 1
                left = 0
                for call in prefill:
                    left += call.prompt_left
                    if left >= chunk:
                        left = chunk
                        break
                step_s += left / params.prefill_tokens_per_s
        self._began, self._steps, self._step_s = at, steps, step_s
        self.ends = at + steps * step_s
