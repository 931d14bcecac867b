"""The pytest plugin, loaded by pytest itself; outside ``meshlb.testing`` to stay cheap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from meshlb.testing.mesh import MeshFactory


@pytest.fixture
def meshlb_mesh() -> Iterator[MeshFactory]:
    """Return ``make(**arguments of meshlb.testing.Mesh)``; what it makes ends with the test."""
    from meshlb.testing.mesh import Mesh

    with ExitStack() as stack:

        def make(*args: Any, **named: Any) -> Mesh:
            return stack.enter_context(Mesh(*args, **named))

        yield make
