"""The pace of callers."""

import asyncio

from app.limits import Pace


async def test_a_caller_beyond_its_burst_waits_and_others_do_not() -> None:
    pace = Pace(rate=1_000, burst=1_000)
    start = asyncio.get_running_loop().time()
    await pace.keep("alice", 1_000)
    waiting = asyncio.create_task(pace.keep("alice", 200))
    await asyncio.sleep(0)
    await pace.keep("bob", 1_000)
    assert not waiting.done()
    await waiting
    assert asyncio.get_running_loop().time() - start >= 0.2


async def test_a_burst_comes_back_with_time() -> None:
    pace = Pace(rate=100_000, burst=1_000)
    await pace.keep("alice", 1_000)
    await asyncio.sleep(0.02)
    start = asyncio.get_running_loop().time()
    await pace.keep("alice", 1_000)
    await pace.keep("alice", 10_000)  # a size beyond the burst is only late
    assert asyncio.get_running_loop().time() - start >= 0.09
