"""Time in an engine with continuous batching, as arithmetic: no clock, no waiting.

What such engines (vLLM, TensorRT-LLM, llama.cpp) have in common: all running requests advance by
one token an iteration, an iteration takes longer with more of them, prompts are taken in by chunks
between, and beyond the slots requests wait in line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

ITERATION_S = 0.006
REQUEST_S = 0.000_35
PREFILL_TOKENS_PER_S = 8000.0
PREFILL_CHUNK = 512


class Job:
    """One request: a prompt to take in, then tokens to make (none: it wanted an embedding)."""

    __slots__ = ("arrived", "made", "prompt_left", "tokens")

    def __init__(self, prompt_tokens: int, tokens: int, arrived: float) -> None:
        self.prompt_left = max(1, prompt_tokens)
        self.tokens = tokens
        self.made = 0
        self.arrived = arrived

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.prompt_left == 0 and self.made >= self.tokens


def capacity_s(prompt_tokens: float, tokens: float, slots: int) -> float:
    """Return the seconds that one such request takes of an engine of speed 1 with full slots."""
    return prompt_tokens / PREFILL_TOKENS_PER_S + tokens * (ITERATION_S / slots + REQUEST_S)


class Batch:
    """The requests of one engine; instants are seconds of the caller's clock."""

    def __init__(self, speed: float, slots: int) -> None:
        self.speed = speed
        self.slots = slots
        self.running: list[Job] = []
        self.waiting: deque[Job] = deque()
        self.ends: float | None = None
        """When the present iteration ends; None: idle."""
        self._prefill: list[tuple[Job, int]] = []

    def add(self, job: Job) -> None:
        """Put a request in line."""
        self.waiting.append(job)
        if self.ends is None:
            self._start(job.arrived)

    def remove(self, job: Job) -> None:
        """Forget a request whose caller has gone; the present iteration runs to its end."""
        if job in self.running:
            self.running.remove(job)
        elif job in self.waiting:
            self.waiting.remove(job)

    def advance(self, now: float) -> Iterator[Job]:
        """Yield a job for each token made, or embedding done, in iterations that end by ``now``."""
        while self.ends is not None and self.ends <= now:
            ended = self.ends
            for job, chunk in self._prefill:
                job.prompt_left -= chunk
            advanced = [job for job in self.running if job.prompt_left == 0]
            for job in advanced:
                if job.tokens:
                    job.made += 1
                if job.done:
                    self.running.remove(job)
            self._start(ended)
            yield from advanced

    def _start(self, at: float) -> None:
        """Begin the next iteration, or fall idle."""
        while self.waiting and len(self.running) < self.slots and self.waiting[0].arrived <= at:
            self.running.append(self.waiting.popleft())
        self._prefill = []
        if not self.running:
            self.ends = None
            if self.waiting:
                self._start(self.waiting[0].arrived)
            return
        room = PREFILL_CHUNK
        for job in self.running:
            if chunk := min(room, job.prompt_left):
                self._prefill.append((job, chunk))
                room -= chunk
        prompt_s = (PREFILL_CHUNK - room) / PREFILL_TOKENS_PER_S
        self.ends = at + (ITERATION_S + REQUEST_S * len(self.running) + prompt_s) / self.speed
