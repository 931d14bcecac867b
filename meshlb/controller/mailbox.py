"""What one watcher is to be sent next: the newest table and the newest share, never a queue.

Both as bytes (``frames``).
"""

from __future__ import annotations

import asyncio


class Mailbox:
    """Two slots; a newer message replaces one that has not been sent. For one event loop."""

    def __init__(self) -> None:
        self._table: bytes | None = None
        self._share: bytes | None = None
        self._filled = asyncio.Event()
        self._closed = False

    def put_table(self, table: bytes) -> None:
        """Replace the table to be sent."""
        self._table = table
        self._filled.set()

    def put_share(self, share: bytes) -> None:
        """Replace the share to be sent."""
        self._share = share
        self._filled.set()

    def close(self) -> None:
        """Let ``take`` return what is there yet, and then None."""
        self._closed = True
        self._filled.set()

    async def take(self) -> tuple[bytes | None, bytes | None] | None:
        """Wait until there is something, and return and clear it; a table is to be sent first."""
        await self._filled.wait()
        taken = self._table, self._share
        self._table = self._share = None
        if not self._closed:
            self._filled.clear()
        elif taken == (None, None):
            return None
        return taken
