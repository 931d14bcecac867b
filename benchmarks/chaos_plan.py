"""What goes wrong in a chaos run, and when: drawn from a seed before the start."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SERVER, CONTROLLER, SIDECAR, CERTIFICATES = "server", "controller", "sidecar", "certificates"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way for something to fail."""

    name: str
    of: str
    least_s: float
    most_s: float
    weight: float = 1.0


KINDS = (
    Kind("kill", SERVER, 1.0, 6.0, 2.0),  # kill -9, and started again
    Kind("freeze", SERVER, 0.5, 6.0, 2.0),  # SIGSTOP, SIGCONT
    Kind("slow", SERVER, 2.0, 8.0),  # each call takes a second more
    Kind("partition", SERVER, 0.5, 6.0, 2.0),  # no byte comes through, no connection ends
    Kind("flap", SERVER, 2.0, 5.0),  # killed again as soon as it serves
    Kind("controller-kill", CONTROLLER, 0.2, 8.0, 2.0),
    Kind("controller-freeze", CONTROLLER, 1.0, 8.0),
    Kind("sidecar-kill", SIDECAR, 0.5, 6.0),
    Kind("rotate", CERTIFICATES, 0.0, 0.0),  # all certificates but the authority's are replaced
)
REST_S = 2.0
"""What has failed is left alone for so long."""
GAP_S = 1.5
"""Mean time from one fault's begin to the next one's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that fails for a while."""

    at_s: float
    kind: str
    target: int
    seconds: float

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.seconds


def plan(
    seed: int, seconds: float, servers: int, controllers: int, kinds: Sequence[Kind] = KINDS
) -> list[Fault]:
    """Return the faults of a run, by their begin.

    Half of the servers are in order at any time, and the last REST_S are calm. Controllers may be
    gone all at once. The first sidecar lives on, so that its memory can be looked at.
    """
    rng = random.Random(seed)
    counts = {SERVER: servers, CONTROLLER: controllers, SIDECAR: servers - 1, CERTIFICATES: 1}
    free_at: dict[tuple[str, int], float] = {}
    found: list[Fault] = []
    at_s = GAP_S
    while at_s < seconds - REST_S:
        kind = rng.choices(kinds, [one.weight for one in kinds])[0]
        target = rng.randrange(counts[kind.of]) + (kind.of == SIDECAR)
        lasts_s = min(rng.uniform(kind.least_s, kind.most_s), seconds - REST_S - at_s)
        failing = sum(until > at_s for (of, _), until in free_at.items() if of == SERVER == kind.of)
        room = kind.of != SERVER or failing < servers // 2
        if room and at_s >= free_at.get((kind.of, target), 0.0):
            found.append(Fault(round(at_s, 3), kind.name, target, round(lasts_s, 3)))
            free_at[kind.of, target] = at_s + lasts_s + REST_S
        at_s += rng.expovariate(1 / GAP_S)
    return found
