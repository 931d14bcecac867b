"""Figures of a course of steps: node-seconds, and what a count mostly was. No clock.

A course is a list of (since when, count) in order of time; each count holds until the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Course = Sequence[tuple[float, int]]


def spans(course: Course, since_s: float, until_s: float) -> Iterator[tuple[float, int]]:
    """Yield (seconds, count) of each piece between two instants."""
    for i, (at_s, count) in enumerate(course):
        end_s = course[i + 1][0] if i + 1 < len(course) else until_s
        held_s = min(end_s, until_s) - max(at_s, since_s)
        if held_s > 0:
            yield held_s, count


def total(course: Course, since_s: float, until_s: float) -> float:
    """Return the count summed over time: node-seconds."""
    return sum(held_s * count for held_s, count in spans(course, since_s, until_s))


def typical(course: Course, times: Iterable[tuple[float, float]]) -> int | None:
    """Return the median over time within (since, until) pairs; None if the course has none."""
    held: dict[int, float] = {}
    for since_s, until_s in times:
        for held_s, count in spans(course, since_s, until_s):
            held[count] = held.get(count, 0.0) + held_s
    half = sum(held.values()) / 2
    for count in sorted(held):
        half -= held[count]
        if half <= 0:
            return count
    return None


def add(course: list[tuple[float, int]], at_s: float, count: int) -> bool:
    """Append a count if it is another one; whether it was."""
    if course and course[-1][1] == count:
        return False
    course.append((at_s, count))
    return True
