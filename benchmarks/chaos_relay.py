"""Networks that can be cut, on loopback: python chaos_relay.py FROM:TO [FROM:TO ...], ports.

What comes at port FROM is handed on to port TO and back. The lines "cut N" and "join N" of its
input stop and resume the N-th: meanwhile no byte comes through and no connection ends, new ones
included, as in a network that loses all packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading

CHUNK = 65536


class Relay:
    """One network."""

    def __init__(self, listen: int, target: int) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._listen, self._target = listen, target

    async def serve(self) -> None:
        """Take connections in, for ever."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", self._listen)
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = [
            asyncio.ensure_future(self._copy(reader, there[1])),
            asyncio.ensure_future(self._copy(there[0], writer)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        await self.open.wait()
        for one in both:
            one.cancel()
        for end in (writer, there[1]):
            end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                await self.open.wait()
                writer.write(data)
                await writer.drain()


def listen(relays: list[Relay], loop: asyncio.AbstractEventLoop) -> None:
    """Carry the lines of the input out; end with it."""
    for line in sys.stdin:
        what, number = line.split()
        event = relays[int(number)].open
        loop.call_soon_threadsafe(event.set if what == "join" else event.clear)
    loop.call_soon_threadsafe(loop.stop)


async def main(pairs: list[str]) -> None:
    relays = [Relay(*map(int, pair.split(":"))) for pair in pairs]
    loop = asyncio.get_running_loop()
    threading.Thread(target=listen, args=(relays, loop), daemon=True).start()
    await asyncio.gather(*(relay.serve() for relay in relays))


if __name__ == "__main__":
    with contextlib.suppress(RuntimeError):  # its loop was stopped
        asyncio.run(main(sys.argv[1:]))
