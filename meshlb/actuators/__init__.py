"""One file per thing that starts and stops replicas; the file's name is its kind in configurations.

To write the next one: make ``NAME.py`` here with a docstring (what, for whom), a frozen ``Params``
dataclass, and

    def build(service: str, params: Params, context: Context) -> Actuator

``Params`` may have ``faults() -> list[str]``, each "FIELD = VALUE: allowed range". All methods are
idempotent, may be slow, may fail with a MeshlbError whose text a person can act on, and are called
from one event loop, one at a time. What an order achieved is seen in the next ``observe``, never in
what the order returned. ``tests/contract`` finds the file by itself. Third parties use the
entry-point group ``meshlb.actuators``.

One whose ledger names what it has started also has

    async def stop_all(ledger: Ledger, say: Callable[[str], None]) -> None

which ``meshlb down`` calls with no controller there: it stops all that the ledger names, says each
in a line, and raises a MeshlbError at the end if something could not be stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshlb.scale_model import Replica


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an actuator can choose; the controller plans by it."""

    starts: bool
    """It starts and stops replicas. False: it only publishes, and somebody else acts."""
    chooses_victim: bool
    """It stops the very replica that it is told to."""
    resizes: bool = False
    """It can change a running replica's resources."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted, whole each time; the same order again changes nothing."""

    service: str
    target: int
    start: int
    """Replicas to start now; those that start already are not counted again."""
    stop: Sequence[str]
    """Replicas to stop now, by replica_id: withdrawn and drained, or without a node."""
    decision_id: int
    """Decision that it follows from."""
    reason: str
    withdrawn: Sequence[str] = ()
    """Replicas that run and do not count for ``target``, by replica_id: those that drain. An
    actuator that starts never has more than ``target`` besides these."""


class Ledger(Protocol):
    """Where an actuator keeps what must outlive a killed controller; each call is on disk after.

    Entries are JSON objects by replica_id, apart for each service and actuator. Calls may come from
    any thread: an actuator keeps the disk out of the event loop.
    """

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return all entries."""

    def put(self, replica_id: str, entry: Mapping[str, Any]) -> None:
        """Write one entry, whole."""

    def remove(self, replica_id: str) -> None:
        """Drop one entry; nothing if there is none."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a controller gives to its actuators."""

    controllers: str
    """HOST:PORT[,HOST:PORT] for sidecars to report to."""
    ledger: Ledger


class Actuator(Protocol):
    """Starts and stops replicas of one service."""

    capabilities: Capabilities

    async def start(self) -> None:
        """Begin: find again what an earlier controller started. Called once, before all else."""

    async def observe(self) -> Sequence[Replica]:
        """Return all replicas that there are, lost ones for a while included."""

    async def apply(self, order: Order) -> None:
        """Begin to carry an order out; returns when it is under way, not when it is done."""

    async def resize(
        self, replica_id: str, slots: int | None, cpu_cores: float | None, memory_bytes: int | None
    ) -> bool:
        """Give a running replica other resources; whether that could be done. None: as it is.

        Infinite ``cpu_cores``: what it had before it was first given some.
        """

    async def close(self) -> None:
        """Let go without stopping anything: replicas outlive their controller."""
