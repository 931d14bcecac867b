"""Requests to replay: from a file, repeated, or made in steps."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from meshlb.errors import InvalidInputError

COLUMNS = ("arrival_s", "context_tokens", "generated_tokens")
JITTER_S = 1.0
MOST_REPEATS = 1000


class Request(NamedTuple):
    """One call: when it comes, in seconds from the start, and its tokens in and out."""

    arrival_s: float
    prompt_tokens: int
    tokens: int


def load(path: str | Path) -> list[Request]:
    """Read a CSV file with the columns of ``COLUMNS``; others are left alone.

    Returns requests in order of arrival, the first at 0. Raises InvalidInputError for a file that
    cannot be read, lacks a column, has no rows, or holds a value that is out of range.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise InvalidInputError(
                    f"trace = {str(path)!r}: a CSV file with columns {', '.join(COLUMNS)}; "
                    f"missing: {', '.join(missing)}"
                )
            requests = [_request(row, f"trace line {rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"trace = {str(path)!r}: a readable CSV file ({error})") from error
    if not requests:
        raise InvalidInputError(f"trace = {str(path)!r}: at least one request")
    requests.sort()
    first = requests[0].arrival_s
    return [one._replace(arrival_s=one.arrival_s - first) for one in requests]


def _request(row: dict[str, str | None], at: str) -> Request:
    numbers = []
    for name, most in zip(COLUMNS, (1e9, 1e7, 1e7), strict=True):
        text = row[name]
        try:
            number = float(text or "")
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= most:
            raise InvalidInputError(f"{at}: {name} = {text!r}: a number from 0 to {most:g}")
        numbers.append(number)
    return Request(numbers[0], int(numbers[1]), int(numbers[2]))


def repeat(requests: Sequence[Request], rate: float, seed: int = 1) -> list[Request]:
    """Return each request ``rate`` times, each but the first up to ``JITTER_S`` later; seeded.

    A part of a whole, such as the .5 of 2.5, is the chance of one more; a rate below 1 thins out.
    Raises InvalidInputError for a rate out of range.
    """
    if not 0.0 < rate <= MOST_REPEATS:
        raise InvalidInputError(f"rate = {rate:g}: a number above 0, at most {MOST_REPEATS}")
    rng = random.Random(seed)
    whole, part = int(rate), rate - int(rate)
    made = []
    for one in requests:
        times = whole + (part > 0.0 and rng.random() < part)
        for copy in range(times):
            late_s = rng.random() * JITTER_S if copy else 0.0
            made.append(one._replace(arrival_s=one.arrival_s + late_s))
    made.sort()
    return made


def steps(
    rates: Sequence[float], step_s: float, sizes: Sequence[Request], seed: int = 1
) -> list[Request]:
    """Return Poisson arrivals at each rate in turn, calls a second; sizes drawn from ``sizes``."""
    rng = random.Random(seed)
    made = []
    for place, rate in enumerate(rates):
        at = place * step_s + rng.expovariate(rate)
        while at < (place + 1) * step_s:
            size = sizes[int(rng.random() * len(sizes))]
            made.append(size._replace(arrival_s=at))
            at += rng.expovariate(rate)
    return made
