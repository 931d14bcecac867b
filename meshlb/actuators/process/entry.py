"""What the ledger says of one replica: enough to find it again, and to stop it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlb.errors import InvalidInputError
from meshlb.os_process import ProcessName


@dataclass(slots=True)
class Child:
    """One process that is to be started, runs, or ran."""

    token: str = field(default_factory=lambda: secrets.token_hex(16))
    name: ProcessName | None = None
    """None: it is about to be started, or was and nobody lived to write it down."""
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False)
    """Where we started it ourselves; not in the ledger."""

    @property
    def unreaped(self) -> int | None:
        """Pid of a child of ours that nobody has waited for yet."""
        mine = self.process
        return mine.pid if mine is not None and mine.returncode is None else None

    def to_json(self) -> dict[str, Any]:
        """Return it for the ledger."""
        return {"token": self.token, "process": self.name and self.name.to_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Child:
        """Read it back."""
        name = raw["process"]
        return cls(str(raw["token"]), None if name is None else ProcessName.from_json(name))


@dataclass(slots=True)
class Entry:
    """One replica."""

    replica_id: str
    """Also its node id."""
    ordered_at: float
    """Unix seconds."""
    decision_id: int
    grace_s: float
    """From SIGTERM to SIGKILL, for whoever stops it."""
    slots: int | None
    state: str = "starting"
    """``starting``, ``ready`` or ``stopping``."""
    address: str = ""
    controllers: str = ""
    """Where its sidecar reports to."""
    server: Child = field(default_factory=Child)
    sidecar: Child = field(default_factory=Child)
    cpus_before: list[int] | None = None
    """CPUs that its server might run on before cores were given to it; None: none were."""
    nice_before: int | None = None
    """Its server's nice before; None: as above."""

    def to_json(self) -> dict[str, Any]:
        """Return it for the ledger."""
        return {
            "node_id": self.replica_id,
            "ordered_at": self.ordered_at,
            "decision_id": self.decision_id,
            "grace_s": self.grace_s,
            "slots": self.slots,
            "state": self.state,
            "address": self.address,
            "controllers": self.controllers,
            "server": self.server.to_json(),
            "sidecar": self.sidecar.to_json(),
            "cpus_before": self.cpus_before,
            "nice_before": self.nice_before,
        }

    @classmethod
    def from_json(cls, replica_id: str, raw: Mapping[str, Any]) -> Entry:
        """Read it back. Raises InvalidInputError for what ``to_json`` never wrote."""
        try:
            slots = raw["slots"]
            cpus, nice = raw.get("cpus_before"), raw.get("nice_before")
            return cls(
                replica_id=replica_id,
                ordered_at=float(raw["ordered_at"]),
                decision_id=int(raw["decision_id"]),
                grace_s=float(raw["grace_s"]),
                slots=None if slots is None else int(slots),
                state=str(raw["state"]),
                address=str(raw["address"]),
                controllers=str(raw["controllers"]),
                server=Child.from_json(raw["server"]),
                sidecar=Child.from_json(raw["sidecar"]),
                cpus_before=None if cpus is None else [int(cpu) for cpu in cpus],
                nice_before=None if nice is None else int(nice),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError(
                f"ledger entry {replica_id!r} = {dict(raw)!r:.300}: what this actuator wrote "
                f"({error!r})",
                reason="DAMAGED_STATE",
            ) from error
