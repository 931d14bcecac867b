"""meshlb: load balancing for gRPC model servers, with nothing in the path.

    channel = meshlb.insecure_channel("mesh://controller:7700/llama")
    stub = generated.LlamaStub(channel)          # any generated stub, unchanged

``meshlb.aio`` has the same for asyncio. Names load when first used: importing meshlb imports
neither grpc nor protobuf.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshlb import aio as aio
    from meshlb.client.channel import insecure_channel as insecure_channel
    from meshlb.client.channel import secure_channel as secure_channel
    from meshlb.security.client_tls import tls as tls

__version__ = "0.1.0"
__all__ = ["__version__", "aio", "insecure_channel", "secure_channel", "tls"]

_HOMES = {
    "insecure_channel": "meshlb.client.channel",
    "secure_channel": "meshlb.client.channel",
    "tls": "meshlb.security.client_tls",
}


def __getattr__(name: str) -> Any:
    if name == "aio":
        return importlib.import_module("meshlb.aio")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'meshlb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
