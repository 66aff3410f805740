"""Whatever platforms do: order in each chat, no message twice, and an end by name that is true."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.bots.adapters.base import Capabilities, Repeat, Target
from app.bots.outbox.models import Delivery, DeliveryState, FragmentState
from app.bots.outbox.planning import plan_reply
from app.bots.outbox.worker import BotInUse
from app.clock import utc_now
from app.files.models import Attachment, Kind
from tests.bots.fakes import RecordingAdapter
from tests.bots.outbox.scripted import Fault, ScriptedAdapter, Stage, lane, staged
from tests.conftest import DatabaseOf
from tests.support.logs import logging_to

FAULTS: list[Fault] = [
    "ok",
    "refused",
    "format_refused",
    "wrong",
    "chat_limited",
    "bot_limited",
    "not_sent",
    "lost",
    "unclear",
    "gone",
    "unauthorized",
    "crashed",
]


@dataclass(frozen=True, slots=True)
class World:
    """A bot, what its platform does in each chat, and the messages: the chat of each and the number of its pieces."""

    scripts: list[list[Fault]]
    messages: list[tuple[int, int]]
    repeat: Repeat
    at_least_once: bool
    waits: bool

    @property
    def shows_twice(self) -> bool:
        """Whether the platform shows a message twice that the outbox repeats."""
        return self.repeat.kind == "harmless" or (self.repeat.kind == "none" and self.at_least_once)


WORLDS = st.builds(
    World,
    st.lists(st.lists(st.sampled_from(FAULTS), max_size=8), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=6),
    st.sampled_from([Repeat("none"), Repeat("keyed"), Repeat("harmless")]),
    st.booleans(),
    st.booleans(),
)


@pytest.mark.databases("sqlite", reason="the outbox decides the same way on each database")
def test_any_script_of_faults_keeps_the_order_and_leaves_nothing_unsaid(
    database_of: DatabaseOf, data_dir: Path
) -> None:
    numbers = count()
    with asyncio.Runner() as runner:
        context = started(database_of, data_dir)
        stage = runner.run(context.__aenter__())

        # Several at once, so that they share commits.
        @settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(st.lists(WORLDS, min_size=6, max_size=6))
        def holds(worlds: list[World]) -> None:
            runner.run(check(stage, {f"bot{next(numbers)}": world for world in worlds}))

        try:
            with logging_to(StringIO(), "critical"):  # to render what failing adapters log takes longer than all else
                holds()
        finally:
            runner.run(context.__aexit__(None, None, None))


@asynccontextmanager
async def started(database_of: DatabaseOf, data_dir: Path) -> AsyncIterator[Stage]:
    async with staged(data_dir, await database_of(data_dir)) as stage:
        yield stage


async def check(stage: Stage, worlds: dict[str, World]) -> None:
    """Play what happens in some worlds, each with a bot of its own."""
    platforms = {bot_id: platform_of(world) for bot_id, world in worlds.items()}
    outbox = stage.outbox(
        {
            bot_id: BotInUse(platforms[bot_id], "scripted", at_least_once=world.at_least_once)
            for bot_id, world in worlds.items()
        }
    )
    ids = {bot_id: await queue(stage, bot_id, world) for bot_id, world in worlds.items()}
    for bot_id, world in worlds.items():
        for chat, _ in world.messages:
            outbox.wake(lane(bot_id, str(chat)))
    await stage.all_over(*worlds)
    for bot_id, world in worlds.items():
        for seen in platforms[bot_id].seen.values():
            once = [text for text, _ in groupby(seen)]
            assert once == sorted(once), "the order of the chat"
            assert world.shows_twice or once == seen, "no message twice"
        for delivery in await stage.deliveries(*ids[bot_id]):
            check_end(delivery, platforms[bot_id])


def platform_of(world: World) -> ScriptedAdapter:
    # A bot whose token is refused rests for ten minutes, and only messages that are waited for end before that.
    scripts: dict[str, list[Fault]] = {
        str(chat): [fault for fault in script if world.waits or fault != "unauthorized"]
        for chat, script in enumerate(world.scripts)
    }
    return ScriptedAdapter(Capabilities(repeat=world.repeat), scripts)


async def queue(stage: Stage, bot_id: str, world: World) -> list[str]:
    return [
        await stage.queue(bot_id, str(chat), [f"{number}.{piece}" for piece in range(pieces)], waits=world.waits)
        for number, (chat, pieces) in enumerate(world.messages)
    ]


def check_end(delivery: Delivery, platform: ScriptedAdapter) -> None:
    """Check that a delivery ended by name, and that people see what it says."""
    assert not delivery.is_open
    assert (delivery.error_code is None) == (delivery.state is DeliveryState.SENT)
    states = {each.state for each in delivery.fragments}
    match delivery.state:
        case DeliveryState.SENT:
            assert states == {FragmentState.SENT}
        case DeliveryState.PARTIAL:
            assert FragmentState.SENT in states
            assert FragmentState.UNKNOWN not in states
        case DeliveryState.UNKNOWN:
            assert FragmentState.UNKNOWN in states
        case _:
            assert not states & {FragmentState.SENT, FragmentState.UNKNOWN}
    seen = platform.seen[delivery.target.removeprefix("FriendMessage:")]
    for fragment in delivery.fragments:
        if fragment.state is not FragmentState.UNKNOWN:
            assert (fragment.payload["text"] in seen) == (fragment.state is FragmentState.SENT)


async def test_of_a_reply_a_file_that_the_platform_does_not_take_is_at_least_named() -> None:
    def attachment(id: str, size: int) -> Attachment:
        values: dict[str, Any] = {"charset": None, "owner_username": None, "created_at": utc_now()}
        kinds: dict[str, Any] = {"type": Kind.IMAGE, "media_type": "image/png"}
        return Attachment(
            id=id, filename=f"{id}.png", size=size, sha256="", storage_key=id, key_id="k", **values, **kinds
        )

    attachments = {"small": attachment("small", 10), "large": attachment("large", 11)}
    adapter = RecordingAdapter(Capabilities(max_upload_bytes=10))
    parts = [{"type": "image", "attachment_id": id} for id in attachments]
    fragments = await plan_reply(adapter, Target("FriendMessage", "1"), parts, attachments, [])
    assert [(each.payload["text"], each.attachment_id) for each in fragments] == [
        ("small.png", "small"),
        ("[large.png]", None),
    ]
