"""The caller of ``reaction.py``: python reaction_caller.py CONTROLLER CALM STEP.

CALM calls at once; after a line on its input STEP more, for as long as it runs; a call that fails
ends it. Prints "calls" once one was answered, and when the step began, in Unix seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time

from streaming_server import ASK

import meshlb

CALL = b"200"
"""Milliseconds that a call takes."""


async def main(controller: str, calm: int, step: int) -> None:
    async with meshlb.aio.insecure_channel(f"mesh://{controller}/bench") as channel:
        ask = channel.unary_unary(ASK)

        async def call_on() -> None:
            while True:
                await ask(CALL, timeout=120)

        await ask(CALL, timeout=120)
        running = [asyncio.create_task(call_on()) for _ in range(calm)]
        print("calls", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(time.time(), flush=True)
        running += [asyncio.create_task(call_on()) for _ in range(step)]
        await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
