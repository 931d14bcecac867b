"""The test mesh: one controller and its fake nodes, run by a thread of their own."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

import meshlb
from meshlb.controller.app import Controller
from meshlb.errors import InvalidInputError, UnavailableError
from meshlb.model import NodeState
from meshlb.table_wire import STATES
from meshlb.testing.node import FakeNode, NodeSpec, Register
from meshlb.v1 import balance_pb2, balance_pb2_grpc

START_LIMIT_S = 60.0
T = TypeVar("T")


class _Echo(grpc.GenericRpcHandler):
    """Answers every method of every service, whatever its arity, with what it was sent."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler that echoes; one for streams serves single messages as well."""
        del handler_call_details

        async def echo(requests: Any, context: Any) -> Any:
            del context
            async for request in requests:
                yield request

        made: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(echo)
        return made


def _register_echo(server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((_Echo(),))


class Mesh:
    """A controller and fake nodes on loopback, from ``with`` to the end of its block.

    ``nodes`` is how many, or how each is to be. ``register`` adds the user's servicer to a node's
    server (``lambda server: add_FooServicer_to_server(Foo(), server)``; servicers for threads and
    for asyncio both work); without it every method echoes. Entering waits until the controller
    knows all nodes, and raises UnavailableError if that does not happen within 60 s.
    """

    def __init__(
        self,
        nodes: int | Sequence[NodeSpec] = 3,
        *,
        register: Register = _register_echo,
        service: str = "test",
    ) -> None:
        specs = [NodeSpec()] * nodes if isinstance(nodes, int) else list(nodes)
        if isinstance(nodes, int) and not 0 <= nodes <= 1000:
            raise InvalidInputError(f"nodes = {nodes}: from 0 to 1000")
        self.service = service
        self.nodes: list[FakeNode] = []
        self.controller = ""
        """HOST:PORT of the controller; stays the same over stop and start."""
        self._specs = specs
        self._register = register
        self._channels: list[grpc.Channel] = []
        self._app: Controller | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh", daemon=True)

    @property
    def target(self) -> str:
        """What a stub dials: "mesh://HOST:PORT/SERVICE"."""
        return f"mesh://{self.controller}/{self.service}"

    def channel(self, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        """Return a new stub channel; closed with the mesh."""
        channel = meshlb.insecure_channel(self.target, options=list(options))
        self._channels.append(channel)
        return channel

    def aio_channel(
        self,
        options: Sequence[tuple[str, Any]] = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
    ) -> grpc.aio.Channel:
        """Return a new asyncio stub channel; the test closes it, as it belongs to its loop."""
        channel: grpc.aio.Channel = meshlb.aio.insecure_channel(
            self.target, options=list(options), interceptors=interceptors
        )
        return channel

    def add_node(self, spec: NodeSpec | None = None) -> FakeNode:
        """Start one more node; returns once the controller has it in its tables."""
        spec = spec or NodeSpec()
        if not spec.node_id:
            spec = dataclasses.replace(spec, node_id=f"node-{len(self.nodes)}")
        node = FakeNode(spec, self.service, self.controller, self._register, self._submit)
        self._wait(node._start())
        self.nodes.append(node)
        self._until_known([node])
        return node

    def stop_controller(self) -> None:
        """Stop the controller; nodes and channels go on."""
        app, self._app = self._app, None
        if app is not None:
            self._wait(app.stop())

    def start_controller(self) -> None:
        """Start a new controller at the address of the old one, knowing nothing."""
        self._wait(self._start_controller())

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(self._start_controller())
            for spec in self._specs:
                self._start_node(spec)
            self._until_known(self.nodes)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *what: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close the sync channels given out, stop nodes and controller. Twice does no harm."""
        if not self._thread.is_alive():
            return
        for channel in self._channels:
            channel.close()
        for node in self.nodes:
            node.kill()
        self.stop_controller()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _start_node(self, spec: NodeSpec) -> None:
        if not spec.node_id:
            spec = dataclasses.replace(spec, node_id=f"node-{len(self.nodes)}")
        node = FakeNode(spec, self.service, self.controller, self._register, self._submit)
        self.nodes.append(node)
        self._wait(node._start())

    async def _start_controller(self) -> None:
        self._app = Controller(listen=self.controller or "127.0.0.1:0")
        await self._app.start()
        self.controller = f"127.0.0.1:{self._app.port}"

    def _until_known(self, nodes: Sequence[FakeNode]) -> None:
        wanted = {node.node_id for node in nodes}
        missing = wanted
        request = balance_pb2.ListNodesRequest()  # of all: this service may not be known yet
        give_up = time.monotonic() + START_LIMIT_S
        with grpc.insecure_channel(self.controller) as channel:
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            while time.monotonic() < give_up:
                known = stub.ListNodes(request, timeout=START_LIMIT_S, wait_for_ready=True).nodes
                active = STATES[NodeState.ACTIVE]
                missing = wanted - {n.node.node_id for n in known if n.state == active}
                if not missing:
                    return
                time.sleep(0.01)
        raise UnavailableError(f"nodes {sorted(missing)} did not report within {START_LIMIT_S} s")

    def _submit(self, step: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(step, self._loop)

    def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        return self._submit(step).result(START_LIMIT_S)


MeshFactory = Callable[..., Mesh]
