"""Discord: the shared suite, and what is Discord's own."""

from app.bots.adapters.base import Target
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import SendingSuite
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
