"""A whole mesh inside one process, for users' own tests: a controller, and nodes with faults.

    def test_my_caller_survives_a_dead_server():
        with Mesh(nodes=3, register=add_my_servicer) as mesh:
            stub = my_pb2_grpc.MyStub(mesh.channel())
            mesh.nodes[0].kill()
            assert stub.Ask(Question()).text == "fine"

``async with Mesh(...)`` does the same for asyncio, with ``mesh.aio_channel()``. All is real: gRPC
over loopback, the real controller, the real stub. pytest users get the fixture ``meshlb_mesh``.
"""

from meshlb.testing.faults import Faults
from meshlb.testing.mesh import Mesh
from meshlb.testing.node import FakeNode, NodeSpec

__all__ = ["FakeNode", "Faults", "Mesh", "NodeSpec"]
