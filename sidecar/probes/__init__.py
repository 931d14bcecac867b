"""One file per source of signals; the agent finds each by its file.

To write the next one: make ``NAME.py`` here with a docstring (what, from where), and

    class Probe:
        def __init__(self, node: Node) -> None: ...        # cheap; imports of extras in here
        async def read(self) -> dict[str, Any]: ...        # fields of model.LoadReport
        async def close(self) -> None: ...

``read`` is called once a report interval, must return within a fraction of it, and gives what it
knows: a field that it leaves out is unknown, never zero. What takes longer runs in a task of its
own, and ``read`` returns the last result while that is fresh. An exception is logged once, and the
fields stay unknown until a ``read`` succeeds; so do fields out of their range. Probes are merged
in order of their names, the later one is believed. ``tests/contract`` finds the file by itself.
Third parties use the entry-point group ``meshlb.probes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from meshlb.security.client_tls import Tls


@dataclass(slots=True)
class Node:
    """The model server that probes look at."""

    address: str
    """HOST:PORT."""
    pid: int | None = None
    """Its process; None: to be found by whoever listens at the address."""
    interval_s: float = 0.1
    """Shortest report interval, as ordered last; changes while running."""
    starting: bool = False
    """The server is not up yet, and its first moment is waited for; changes while running."""
    draining: bool = False
    """A controller has withdrawn it; changes while running."""
    authority: str = ""
    """HTTP/2 authority and TLS name; empty: the address."""
    tls: Tls | None = None
    """How it is dialled; None: in plain text."""


class Probe(Protocol):
    """One source of signals."""

    async def read(self) -> dict[str, Any]:
        """Return the fields of ``model.LoadReport`` that are known now; also ``slots``."""

    async def close(self) -> None:
        """Stop whatever runs; harmless if nothing was ever read."""
