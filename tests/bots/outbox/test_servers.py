"""Several servers on one database: each piece is sent once, in order, and what one leaves another takes."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.bots.adapters.base import Capabilities, Repeat
from app.bots.outbox.models import DeliveryRow, DeliveryState
from app.bots.outbox.worker import BotInUse
from app.clock import utc_now
from tests.bots.outbox.scripted import ScriptedAdapter, Stage, lane

pytestmark = pytest.mark.databases("postgresql")

CHATS = ["1", "2", "3"]


async def fill(stage: Stage, chats: list[str], messages: int = 3) -> None:
    for number in range(messages):
        for chat in chats:
            await stage.queue("bot", chat, [f"{number}.{piece}" for piece in range(2)])


def everything(chats: list[str], messages: int = 3) -> dict[str, list[str]]:
    return {chat: [f"{number}.{piece}" for number in range(messages) for piece in range(2)] for chat in chats}


async def test_two_servers_send_each_piece_once_and_in_order(stage: Stage) -> None:
    platform = ScriptedAdapter()  # one for both: people see what any server sends
    servers = [stage.outbox({"bot": BotInUse(platform, "scripted")}, name, sole_owner=False) for name in ("a", "b")]
    await fill(stage, CHATS)
    for chat in CHATS:
        for server in servers:
            server.wake(lane("bot", chat))
    await stage.all_over("bot")
    assert platform.seen == everything(CHATS)
    assert platform.calls == sum(map(len, everything(CHATS).values()))


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_what_a_server_leaves_another_sends_and_the_first_does_not_come_back(
    stage: Stage, is_keyed: bool
) -> None:
    """A server loses its leases in the middle of a call; it was only cut off, and its answer comes too late."""
    capabilities = Capabilities(repeat=Repeat("keyed" if is_keyed else "none"))
    platform = ScriptedAdapter(capabilities, hold=asyncio.Event())
    lost, other = (
        stage.outbox({"bot": BotInUse(platform, "scripted")}, name, sole_owner=False) for name in ("lost", "other")
    )
    await fill(stage, ["1"])
    lost.wake(lane("bot", "1"))
    await platform.arrived.wait()
    gate, platform.hold = platform.hold, None
    past = utc_now() - timedelta(seconds=1)
    await stage.database.write(
        lambda connection: connection.execute(
            update(DeliveryRow).where(DeliveryRow.owner == "lost").values(leased_until=past)
        )
    )
    await other.open()  # as its poll does: it finds what has no living owner
    await stage.all_over("bot")
    deliveries = await stage.deliveries(*(f"bot/1/{number}.0" for number in range(3)))
    if is_keyed:
        assert platform.seen == everything(["1"])
        assert {each.state for each in deliveries} == {DeliveryState.SENT}
    else:
        # The piece that may have arrived is not sent again, and neither is the rest of its message.
        assert platform.seen == {"1": everything(["1"])["1"][2:]}
        assert [each.state.value for each in deliveries] == ["unknown", "sent", "sent"]
    assert gate is not None
    gate.set()
    await lost.close()
    assert await stage.deliveries(*(each.id for each in deliveries)) == deliveries
    expected = everything(["1"])["1"]
    assert platform.seen["1"] == expected if is_keyed else [*expected[2:], "0.0"]
