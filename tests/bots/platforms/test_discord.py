"""Discord: the shared suite, and what is Discord's own."""

import asyncio

from app.bots.adapters.base import Target
from tests.bots.platforms.conftest import BOT, Stage, connection_of
from tests.bots.platforms.suite import LiveSuite, ReceivingSuite, SendingSuite
from tests.support.platforms.base import Fault
from tests.support.platforms.discord import USER, DiscordFake


class TestDiscord(SendingSuite):
    fake_type = DiscordFake
    is_keyed = True

    async def test_nothing_is_cut_off_a_long_text(self, stage: Stage) -> None:
        """AstrBot 6034: the text beyond 2000 characters was thrown away."""
        text = "\n".join(f"line {n} of the answer" for n in range(300))
        assert (await stage.send(text))[0] == 200
        assert "\n".join(stage.fake.texts()) == text
        assert len(stage.fake.texts()) > 2

    async def test_a_user_is_reached_by_their_own_id(self, stage: Stage) -> None:
        """AstrBot 6920: a user's id was taken for a channel's."""
        for text in ("hello", "again"):
            assert (await stage.send(text, USER))[0] == 200
        assert stage.fake.texts("300000000000000003") == ["hello", "again"]

    async def test_a_channel_that_does_not_exist_is_gone(self, stage: Stage) -> None:
        status, answer = await stage.send("hello", "500000000000000005", group=True)
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert (await stage.delivery(answer))["error_code"] == "delivery_failed:10003"

    async def test_nobody_is_notified_by_what_a_model_writes(self, stage: Stage) -> None:
        assert (await stage.send("@everyone <@900000000000000001>"))[0] == 200
        assert stage.fake.seen()[0].extra["allowed_mentions"] == {"parse": []}

    async def test_a_global_rate_limit_stops_the_whole_bot(self, stage: Stage) -> None:
        assert isinstance(stage.fake, DiscordFake)
        stage.fake.limits_all = True
        stage.fake.script = [Fault("rate_limited", after=600)]
        assert (await stage.send("first"))[0] == 502
        assert (await stage.send("nor others", group=True))[0] == 502
        assert len(stage.fake.calls) == 1

    async def test_the_client_names_itself_as_discord_asks(self, stage: Stage) -> None:
        assert isinstance(stage.fake, DiscordFake)
        assert (await stage.send("hello"))[0] == 200
        (agent,) = stage.fake.agents
        assert agent.startswith("DiscordBot (https://")

    async def test_a_quotation_goes_on_the_first_piece(self, stage: Stage) -> None:
        quoted = "400000000000000077"
        parts = [{"type": "reply", "message_id": quoted}, {"type": "plain", "text": "word " * 600}]
        assert (await stage.send(parts))[0] == 200
        assert [message.reply_to for message in stage.fake.seen()] == [quoted, None]

    async def test_names_with_marks_are_shown_as_they_are(self, stage: Stage) -> None:
        assert (await stage.send("call snake_case_name, see https://example.com/a_b_c"))[0] == 200
        assert stage.fake.texts() == ["call snake_case_name, see https://example.com/a_b_c"]

    async def test_typing_is_shown(self, stage: Stage) -> None:
        assert isinstance(stage.fake, DiscordFake)
        async with stage.bots.use(BOT) as bot:
            await bot.adapter.typing(Target("FriendMessage", stage.fake.session))  # type: ignore[attr-defined]
        assert stage.fake.typed == [stage.fake.session]

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        async with stage.bots.use(BOT) as bot:
            assert (await bot.adapter.check()).name == "palaver"  # type: ignore[attr-defined]


class TestDiscordReceiving(ReceivingSuite):
    fake_type = DiscordFake

    async def test_nothing_is_lost_while_the_connection_is_made_again(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.receive("before")
        await fake.until(lambda: fake.texts() == ["before"])
        await fake.gateway.close(4000)
        await fake.receive("meanwhile")
        await fake.until(lambda: fake.texts() == ["before", "meanwhile"])
        assert len(fake.gateway.identified) == 1
        assert fake.gateway.resumed[0]["seq"] is not None

    async def test_nothing_is_lost_while_the_bot_is_off_for_a_moment(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.receive("before")
        await fake.until(lambda: fake.texts() == ["before"])
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"enabled": False})
        await fake.until(lambda: not fake.gateway.sockets)
        assert fake.gateway.close_codes[-1] not in (1000, 1001)  # which would end the session
        await fake.receive("meanwhile")
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"enabled": True})
        await fake.until(lambda: fake.texts() == ["before", "meanwhile"])

    async def test_a_session_that_is_over_is_begun_anew(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.receive("before")
        await fake.until(lambda: fake.texts() == ["before"])
        fake.gateway.sessions = {}
        await fake.gateway.close(4000)
        await fake.receive("after")
        await fake.until(lambda: fake.texts() == ["before", "after"])
        assert len(fake.gateway.identified) == 2

    async def test_a_connection_that_answers_no_heartbeat_is_made_again(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.until(lambda: bool(fake.gateway.sockets))
        fake.gateway.heartbeat_ms, fake.gateway.answers_heartbeats = 300, False
        await fake.gateway.close(4000)
        await fake.until(lambda: len(fake.gateway.resumed) >= 2)
        fake.gateway.answers_heartbeats = True
        await fake.receive("still there?")
        await fake.until(lambda: fake.texts() == ["still there?"])

    async def test_without_the_intent_for_texts_it_goes_on_with_mentions(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.until(lambda: bool(fake.gateway.sockets))
        fake.gateway.privileged = 1 << 15
        fake.gateway.sessions = {}
        await fake.gateway.close(4000)
        await fake.until(lambda: bool(fake.gateway.sockets))
        assert [bool(each["intents"] & 1 << 15) for each in fake.gateway.identified] == [True, True, False]

    async def test_a_close_code_that_is_final_is_a_state_with_a_reason(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.until(lambda: bool(fake.gateway.sockets))
        fake.gateway.token = "another"
        fake.gateway.sessions = {}
        await fake.gateway.close(4000)
        connection = await connection_of(stage, "failed")
        assert connection["last_error"] == "Discord does not accept the bot's token"
        count = len(fake.gateway.identified)
        await asyncio.sleep(0.5)
        assert len(fake.gateway.identified) == count

    async def test_sessions_are_not_begun_when_there_are_none_left_today(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.until(lambda: bool(fake.gateway.sockets))
        fake.identifies_left = 0
        fake.gateway.sessions = {}
        await fake.gateway.close(4000)
        await asyncio.sleep(1.0)
        assert len(fake.gateway.identified) == 1

    async def test_files_are_fetched_without_the_token(self, stage: Stage) -> None:
        fake = discord(stage)
        await fake.receive("read this", file=("notes.txt", b"the hostas have arrived"))
        await fake.until(lambda: bool(fake.texts()))
        assert fake.tokens_of_downloads == [None]


class TestDiscordLive(LiveSuite):
    fake_type = DiscordFake


def discord(stage: Stage) -> DiscordFake:
    assert isinstance(stage.fake, DiscordFake)
    return stage.fake
