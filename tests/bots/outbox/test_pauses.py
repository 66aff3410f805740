"""A chat or bot that has to rest, or hangs, keeps no other from its messages."""

import asyncio

import pytest

from app.bots.outbox.models import DeliveryState
from app.bots.outbox.worker import MAX_CALLS_PER_BOT, BotInUse
from tests.bots.outbox.scripted import ScriptedAdapter, Stage, lane

pytestmark = pytest.mark.databases("sqlite", "postgresql")

LONG = 600.0


def bots_of(**adapters: ScriptedAdapter) -> dict[str, BotInUse]:
    return {bot_id: BotInUse(adapter, "scripted") for bot_id, adapter in adapters.items()}


async def send(stage: Stage, bot_id: str, *chats: str, texts: tuple[str, ...] = ("hello",)) -> list[str]:
    """Queue a message for each chat, and have the last outbox look at it."""
    ids = [await stage.queue(bot_id, chat, texts, seconds=2 * LONG) for chat in chats]
    for chat in chats:
        stage.outboxes[-1].wake(lane(bot_id, chat))
    return ids


async def states(stage: Stage, *ids: str) -> set[DeliveryState]:
    return {delivery.state for delivery in await stage.deliveries(*ids)}


async def test_a_bot_that_rests_slows_no_other_and_rests_after_a_restart_too(stage: Stage) -> None:
    resting = ScriptedAdapter(scripts={"1": ["bot_limited"]}, rest_seconds=LONG)
    other = ScriptedAdapter()
    bots = bots_of(resting=resting, other=other)
    stage.outbox(bots)
    first = await send(stage, "resting", "1")
    await resting.arrived.wait()
    await send(stage, "other", *map(str, range(20)))
    await stage.all_over("other")
    assert sum(map(len, other.seen.values())) == 20
    # All of the bot's chats rest, without a call; for the next process as well.
    rest = await send(stage, "resting", "2", "3")
    await stage.outboxes[-1].close()
    again = stage.outbox(bots)
    await again.open()
    await send(stage, "other", "more")
    await stage.all_over("other")
    assert resting.calls == 1
    assert await states(stage, *first, *rest) == {DeliveryState.QUEUED}


async def test_a_chat_that_rests_keeps_its_order_and_slows_no_other_of_its_bot(stage: Stage) -> None:
    adapter = ScriptedAdapter(scripts={"1": ["ok", "chat_limited"]}, rest_seconds=LONG)
    stage.outbox(bots_of(bot=adapter))
    resting = [*await send(stage, "bot", "1", texts=("1.1", "1.2"))]
    resting += await send(stage, "bot", "1", texts=("2",))
    others = await send(stage, "bot", *map(str, range(2, 20)))

    async with asyncio.timeout(10):
        while await states(stage, *others) != {DeliveryState.SENT}:
            await asyncio.sleep(0.01)
    assert adapter.seen["1"] == ["1.1"]
    assert await states(stage, *resting) == {DeliveryState.QUEUED}


async def test_a_bot_whose_calls_hang_slows_no_other(stage: Stage) -> None:
    hanging = ScriptedAdapter(hold=asyncio.Event())
    other = ScriptedAdapter()
    stage.outbox(bots_of(hanging=hanging, other=other))
    await send(stage, "hanging", *map(str, range(3 * MAX_CALLS_PER_BOT)))
    await hanging.arrived.wait()
    await send(stage, "other", "1")
    await stage.all_over("other")
    assert hanging.calls <= MAX_CALLS_PER_BOT
    assert hanging.hold is not None
    hanging.hold.set()
    await stage.all_over("hanging")
    assert hanging.calls == 3 * MAX_CALLS_PER_BOT
