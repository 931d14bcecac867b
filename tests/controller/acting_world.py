"""One service, its fleet and an actuator that does as a test says."""

import asyncio
import contextlib
import time

from meshlb.actuators import Capabilities
from meshlb.controller.acting import Acting, Hands
from meshlb.controller.intent import Intent, Learned
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.model import LoadReport, NodeInfo
from meshlb.policy.fleet import Fleet
from meshlb.scale_model import Manual, Mode, Replica, ReplicaState, ScalePolicy
from meshlb.settings import Settings


class Actuator:
    """Keeps what it is told; starts at once, fails or hangs as the test says."""

    capabilities = Capabilities(starts=True, chooses_victim=True, resizes=True)

    def __init__(self):
        self.running = {}
        self.orders = []
        self.resized = []
        self.calls = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def _called(self, name):
        self.calls.append(name)
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def start(self):
        await self._called("start")

    async def observe(self):
        await self._called("observe")
        return list(self.running.values())

    async def apply(self, order):
        await self._called("apply")
        self.orders.append(order)
        for replica_id in order.stop:
            del self.running[replica_id]
        for _ in range(order.start):
            self.add(f"r{len(self.running)}-{len(self.orders)}")

    async def resize(self, replica_id, slots, cpu_cores, memory_bytes):
        self.resized.append((replica_id, cpu_cores))
        return True

    async def close(self):
        self.closed = True

    def add(self, replica_id, state=ReplicaState.READY):
        self.running[replica_id] = Replica(replica_id, replica_id, state, time.time())


class World:
    """One service, its fleet and its actuator, in one loop."""

    def __init__(self, mode=Mode.ACTIVE, target=2):
        self.fleet = Fleet(Settings(), "c", 1, time.monotonic())
        self.record = self.fleet.service("s")
        policy = ScalePolicy("s", mode=mode, min=0, max=9)
        intent = Intent(manual=Manual(count=target))
        self.scaling = ServiceScaling(
            "s", policy, "fake", intent, Learned(), time.monotonic() - 1000
        )
        self.actuator = Actuator()
        self.withdrawn = {}
        self.silent = set()
        """Replicas whose sidecars do not report."""
        self.meanwhile = lambda: None
        """What happens while an order to withdraw a node is written."""

        async def withdraw(service, node_id, reason):
            self.withdrawn[node_id] = reason
            self.fleet.drain(service, node_id, reason)
            self.meanwhile()

        async def restore(service, node_id):
            self.withdrawn.pop(node_id, None)
            self.fleet.undrain(service, node_id)

        hands = Hands(withdraw, restore, lambda _: {}, lambda _: self.withdrawn)
        self.acting = Acting(self.scaling, self.record, self.actuator, hands)

    def tick(self):
        """Report for all that runs, and decide."""
        now = time.monotonic()
        for at, replica in enumerate(self.actuator.running.values()):
            if replica.state is ReplicaState.READY and replica.replica_id not in self.silent:
                info = NodeInfo("s", replica.node_id, 1, f"127.0.0.1:{at + 1}")
                self.fleet.observe_report(LoadReport(info, in_flight=0), self, now, time.time())
        self.fleet.decide(now)
        self.scaling.decide(self.record, now, time.time())

    def want(self, count):
        self.scaling.take_intent(Intent(manual=Manual(count=count)))
        self.tick()
        self.acting.wake()

    def call_again(self, node_id):
        """Do as an operator who ends a drain."""
        self.withdrawn.pop(node_id)
        self.fleet.undrain("s", node_id)

    async def rounds(self):
        """Wait until some rounds have begun from now on."""
        before = self.actuator.calls.count("observe")
        await self.until(lambda: self.actuator.calls.count("observe") > before + 5)

    async def until(self, check):
        async with asyncio.timeout(100):
            while not check():
                self.tick()
                await asyncio.sleep(0.01)


def acts(test, **how):
    """Run a test beside the acting task."""

    async def run():
        world = World(**how)
        task = asyncio.create_task(world.acting.run())
        try:
            await test(world)
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
