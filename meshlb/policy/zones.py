"""Own zone first, spilling by expected delay. (To be completed.)"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from meshlb.policy.load import Candidate, ClientLoad
from meshlb.policy.pickers import Build, Picker


def build(
    build: Build,
    nodes: Sequence[Candidate],
    client: ClientLoad,
    rng: random.Random,
    params: Any,
    zone: str,  # noqa: ARG001
) -> Picker:
    """Return a picker over ``nodes`` that prefers those in ``zone``."""
    return build(nodes, client, rng, params)
