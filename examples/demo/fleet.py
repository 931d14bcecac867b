"""Starts what is shown: two identical fleets, and for one of them sidecars and a controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from examples.demo.options import Options
from examples.demo.processes import Child, Children
from examples.demo.state import BALANCERS, MESHLB, ROUND_ROBIN
from examples.demo.workload import Arrival

SERVICE = "model"
EMULATED_SLOTS, LLAMA_SLOTS = 16, 2


@dataclass(frozen=True)
class Server:
    """One model server."""

    name: str
    child: Child
    address: str


@dataclass(frozen=True)
class Started:
    """All children of a run."""

    servers: dict[str, list[Server]]
    """By balancer."""
    controller: str
    callers: dict[str, list[Child]]


def slots(engine: str) -> int:
    """Return the requests that a server of this engine runs at once."""
    return LLAMA_SLOTS if engine == "llama" else EMULATED_SLOTS


def names(options: Options) -> tuple[str, ...]:
    """Return the nodes' names."""
    return tuple(f"node-{i + 1}" for i in range(len(options.speeds)))


async def start(children: Children, options: Options, arrivals: Sequence[Arrival]) -> Started:
    """Start everything and hand the callers their plans; none has begun to call yet."""
    starting = {
        balancer: [
            await _server(children, options, balancer, name, speed)
            for name, speed in zip(names(options), options.speeds, strict=True)
        ]
        for balancer in BALANCERS
    }
    listen = ("-m", "meshlb.cli", "controller", "--listen", "127.0.0.1:0")
    controller_child = await children.start("controller", listen)
    callers: dict[str, list[Child]] = {balancer: [] for balancer in BALANCERS}
    for balancer in BALANCERS:
        for i in range(options.clients):
            command = ("-m", "examples.demo.caller")
            callers[balancer].append(
                await children.start(f"{balancer}-caller-{i + 1}", command, talks=True)
            )
    controller = await controller_child.address()
    servers = {
        balancer: [
            Server(name, child, await child.address())
            for name, child in zip(names(options), group, strict=True)
        ]
        for balancer, group in starting.items()
    }
    for server in servers[MESHLB]:
        words = ["-m", "sidecar", "--controller", controller, "--service", SERVICE]
        words += ["--node", server.address, "--pid", str(server.child.pid)]
        await children.start(f"sidecar-of-{server.name}", words)
    targets = {
        MESHLB: f"mesh://{controller}/{SERVICE}",
        ROUND_ROBIN: "ipv4:" + ",".join(s.address for s in servers[ROUND_ROBIN]),
    }
    for balancer, group in callers.items():
        for i, caller in enumerate(group):
            mine = arrivals[i :: options.clients]
            await caller.tell(
                {
                    "balancer": balancer,
                    "target": targets[balancer],
                    "picker": options.picker,
                    "until_s": options.seconds,
                    "arrivals": [(a.at_s, a.prompt_tokens, a.answer_tokens) for a in mine],
                }
            )
    return Started(servers, controller, callers)


async def _server(
    children: Children, options: Options, balancer: str, name: str, speed: float
) -> Child:
    command = ["-m", "examples.modelserver", "--name", name, "--engine", options.engine]
    command += ["--speed", f"{speed:g}", "--slots", str(slots(options.engine))]
    return await children.start(f"{balancer}-{name}", command)
