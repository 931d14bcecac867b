"""One file per way to choose a node; the file's name is the picker's name in configurations.

To write the next one: make ``NAME.py`` here with a docstring (what, why, when, source), a frozen
``Params`` dataclass whose fields all have defaults, and

    def build(nodes, client, rng, params) -> Picker

It gets at least one candidate, and is built anew whenever the table or the set of reachable nodes
changes; live counts are read from ``candidate.load`` and ``client`` at each pick. It keeps no
other state, starts nothing, never looks at a clock: ``now`` is passed, in seconds.
``tests/contract`` finds the file by itself. Third parties use the entry-point group
``meshlb.pickers``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

from meshlb.policy.load import Candidate, ClientLoad


class Picker(Protocol):
    """Chooses among the candidates it was built with; safe to call from several threads."""

    def pick(self, now: float) -> int:
        """Return the index of the candidate to call; never waits, never raises."""


class Build(Protocol):
    """The ``build`` function of a picker's file."""

    def __call__(
        self, nodes: Sequence[Candidate], client: ClientLoad, rng: random.Random, params: Any
    ) -> Picker:
        """Return a picker over ``nodes`` (one or more)."""
