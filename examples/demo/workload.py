"""What is asked of the servers, and when: plain lists of calls, made before the clock starts.

Arrivals are Poisson and open loop: nobody waits for an answer before the next call comes. Sizes
follow the published figures of the Azure LLM inference trace of 2023, conversation service
(Splitwise, ISCA 2024; CC-BY 4.0): prompts of mean 1,155 tokens (p50 1,020, p99 4,142), answers of
mean 211 (p50 129, p99 601). The trace itself is not needed.
"""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from examples.modelserver.batch import capacity_s
from meshlb.errors import InvalidInputError

EMBED_PART = 0.3
"""Part of the calls that are Embed, in fitted load."""
COLUMNS = ("arrival_s", "context_tokens", "generated_tokens")
MAX_CONTEXT_TOKENS = 131_072
MAX_GENERATED_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call to make. ``answer_tokens`` 0: an Embed."""

    at_s: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Sizes:
    """A distribution with the given mean, median and 99th percentile.

    Its quantile function is a line from 0 to the median, then median + (p99 - median) x t^k with
    t in [0, 1] up to the 99th percentile, then a line to 1.5 x p99. k makes the mean come out.
    """

    mean: float
    p50: float
    p99: float

    @property
    def exponent(self) -> float:
        """The k of the middle piece."""
        middle = (self.mean - 0.5 * self.p50 / 2 - 0.01 * 1.25 * self.p99) / 0.49
        return (self.p99 - self.p50) / (middle - self.p50) - 1.0

    def quantile(self, u: float) -> float:
        """Return the value that a part ``u`` of all is below."""
        if u < 0.5:
            return self.p50 * u / 0.5
        if u < 0.99:
            return self.p50 + (self.p99 - self.p50) * float(((u - 0.5) / 0.49) ** self.exponent)
        return self.p99 * (1.0 + 0.5 * (u - 0.99) / 0.01)

    def scaled(self, factor: float) -> Sizes:
        """Return the same shape, ``factor`` times as large."""
        return Sizes(self.mean * factor, self.p50 * factor, self.p99 * factor)

    def draw(self, rng: random.Random) -> int:
        """Return one size, at least 1."""
        return max(1, round(self.quantile(rng.random())))


PROMPTS = Sizes(mean=1155, p50=1020, p99=4142)
ANSWERS = Sizes(mean=211, p50=129, p99=601)
EMBEDDED = PROMPTS.scaled(0.25)
"""Texts to embed: our own choice, a quarter of a prompt."""


@dataclass(frozen=True)
class Mix:
    """What the calls of one run look like."""

    prompts: Sizes = PROMPTS
    answers: Sizes = ANSWERS
    embedded: Sizes = EMBEDDED

    def seconds(self, slots: int) -> float:
        """Return what the mean call takes of an engine of speed 1 with full slots."""
        generate = capacity_s(self.prompts.mean, self.answers.mean, slots)
        embed = capacity_s(self.embedded.mean, 0, slots)
        return (1 - EMBED_PART) * generate + EMBED_PART * embed


def poisson(rng: random.Random, rate: float, until_s: float, mix: Mix) -> Iterator[Arrival]:
    """Yield arrivals at ``rate`` calls a second until ``until_s``."""
    at = rng.expovariate(rate)
    while at < until_s:
        if rng.random() < EMBED_PART:
            yield Arrival(at, mix.embedded.draw(rng), 0)
        else:
            yield Arrival(at, mix.prompts.draw(rng), mix.answers.draw(rng))
        at += rng.expovariate(rate)


def read_trace(path: Path) -> list[Arrival]:
    """Return the calls of a CSV file with the columns ``COLUMNS``, in order of arrival.

    Raises InvalidInputError naming file, line and column of the first thing that is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            arrivals = list(parse_trace(lines, path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"--trace {path}: cannot be read: {error}") from error
    if not arrivals:
        raise InvalidInputError(f"--trace {path}: no calls in it")
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def parse_trace(lines: Iterable[str], name: str) -> Iterator[Arrival]:
    """Yield the calls of a trace's lines; see ``read_trace``."""
    rows = csv.reader(lines)
    header = next(rows, [])
    places = []
    for column in COLUMNS:
        if column not in header:
            raise InvalidInputError(f"{name}:1: no column {column}; wanted: {', '.join(COLUMNS)}")
        places.append(header.index(column))
    allowed = ((0.0, 1e9), (1, MAX_CONTEXT_TOKENS), (1, MAX_GENERATED_TOKENS))
    for row in rows:
        if not row:
            continue
        values = []
        for column, place, (least, most) in zip(COLUMNS, places, allowed, strict=True):
            text = row[place] if place < len(row) else ""
            kind = float if column == "arrival_s" else int
            try:
                value = kind(text)
            except ValueError:
                value = -1
            if not least <= value <= most:
                where = f"{name}:{rows.line_num}: {column} = {text!r}"
                raise InvalidInputError(f"{where}: a number from {least:g} to {most:g}")
            values.append(value)
        yield Arrival(values[0], int(values[1]), int(values[2]))


def natural_rate(trace: Sequence[Arrival]) -> float:
    """Return the trace's own calls a second."""
    span = trace[-1].at_s - trace[0].at_s
    return (len(trace) - 1) / span if span > 0 else 1.0


def replay(trace: Sequence[Arrival], speed: float, until_s: float) -> list[Arrival]:
    """Return the first ``until_s`` seconds of a trace played ``speed`` times as fast."""
    start = trace[0].at_s
    moved = (replace(call, at_s=(call.at_s - start) / speed) for call in trace)
    return list(itertools.takewhile(lambda call: call.at_s < until_s, moved))


def mean_seconds(trace: Sequence[Arrival], slots: int) -> float:
    """Return what the trace's mean call takes of an engine of speed 1 with full slots."""
    return sum(capacity_s(c.prompt_tokens, c.answer_tokens, slots) for c in trace) / len(trace)


def shortened(call: Arrival) -> Arrival:
    """Return a call of a trace cut down to what a small model on one CPU thread can bear."""
    return replace(call, prompt_tokens=8, answer_tokens=min(40, max(1, call.answer_tokens // 12)))
