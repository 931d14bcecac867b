"""Nothing is started or stopped here: targets are published, and somebody else acts on them.

For services whose nodes an outside program runs, by ``WatchScale`` or ``GetScale``. Nodes come and
go as their sidecars report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshlb.actuators import Actuator, Capabilities, Context, Order
from meshlb.scale_model import Replica


@dataclass(frozen=True)
class Params:
    """``[service.NAME.actuator]`` with ``kind = "none"``: nothing to choose."""


class _Published:
    capabilities = Capabilities(starts=False, chooses_victim=False)

    async def start(self) -> None:
        pass

    async def observe(self) -> Sequence[Replica]:
        return ()

    async def apply(self, order: Order) -> None:
        pass

    async def resize(
        self,
        replica_id: str,  # noqa: ARG002
        slots: int | None,  # noqa: ARG002
        cpu_cores: float | None,  # noqa: ARG002
        memory_bytes: int | None,  # noqa: ARG002
    ) -> bool:
        return False

    async def close(self) -> None:
        pass


def build(service: str, params: Params, context: Context) -> Actuator:  # noqa: ARG001
    """Return the actuator of one service."""
    return _Published()
