"""Channels to the model server and to controllers, in plain text or TLS."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from meshlb.security.client_tls import Tls
from sidecar.probes import Node

Options = tuple[tuple[str, Any], ...]
MOST_BYTES = 4 * 1024 * 1024
"""Longest message that is taken from anybody."""


def server(node: Node, options: Options) -> grpc.aio.Channel:
    """Return a channel to the model server, under its own authority if it has one."""
    named: list[tuple[str, Any]] = [*options, ("grpc.max_receive_message_length", MOST_BYTES)]
    if node.authority:
        named.append(("grpc.default_authority", node.authority))
    if node.tls is None:
        return grpc.aio.insecure_channel(node.address, named)
    if node.authority:
        named.append(("grpc.ssl_target_name_override", node.authority))
    return grpc.aio.secure_channel(node.address, node.tls.current()[1], named)


def controller(address: str, tls: Tls | None, options: Options) -> grpc.aio.Channel:
    """Return a channel to a controller."""
    named = [*options, ("grpc.max_receive_message_length", MOST_BYTES)]
    if tls is None:
        return grpc.aio.insecure_channel(address, named)
    return grpc.aio.secure_channel(address, tls.current()[1], named)
