"""Waiting for a condition, never for a time: a machine may stall for long."""

import asyncio
import time

LIMIT_S = 60.0


def until(true, what="", limit_s=LIMIT_S):
    """Wait until ``true()`` gives something true, and return it; fail if it never does."""
    give_up = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < give_up, f"waited {limit_s} s in vain: {what or true}"
        time.sleep(0.005)
    return found


async def until_aio(true, what="", limit_s=LIMIT_S):
    """``until``, for a test that runs in an event loop."""
    give_up = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < give_up, f"waited {limit_s} s in vain: {what or true}"
        await asyncio.sleep(0.005)
    return found
