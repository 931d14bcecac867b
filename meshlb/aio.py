"""The client stub for asyncio: drop-in for ``grpc.aio``'s channel constructors."""

from meshlb.client.aio_channel import insecure_channel, secure_channel

__all__ = ["insecure_channel", "secure_channel"]
