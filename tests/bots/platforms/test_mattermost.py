"""Mattermost: the shared suite, and what is Mattermost's own."""

from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import MARKDOWN, LiveSuite, ReceivingSuite, SendingSuite
from tests.support.platforms.base import Seen
from tests.support.platforms.mattermost import BOT_ID, MattermostFake


class TestMattermost(SendingSuite):
    fake_type = MattermostFake
    is_keyed = True

    async def test_a_quotation_is_a_reply_to_the_beginning_of_the_thread(self, stage: Stage) -> None:
        """AstrBot names whatever is quoted as the root, which Mattermost refuses."""
        session, other = stage.fake.session, stage.fake.group
        root, inner, foreign = "r" * 26, "i" * 26, "f" * 26
        stage.fake.messages += [
            Seen(session, root, "question"),
            Seen(session, inner, "more", reply_to=root),
            Seen(other, foreign, "elsewhere"),
        ]
        for id in (root, inner, foreign, "x" * 26, "77"):
            parts = [{"type": "reply", "message_id": id}, {"type": "plain", "text": "answer"}]
            assert (await stage.send(parts))[0] == 200
        assert [each.reply_to for each in stage.fake.seen()[2:]] == [root, root, None, None, None]

    async def test_markdown_stays_markdown_and_calls_nobody(self, stage: Stage) -> None:
        assert (await stage.send(MARKDOWN))[0] == 200
        assert stage.fake.texts() == [MARKDOWN]
        assert (await stage.send("@all, @Channel and @here: mail a@all.example"))[0] == 200
        assert stage.fake.texts()[1] == "@\u200ball, @\u200bChannel and @\u200bhere: mail a@all.example"

    async def test_the_pending_id_is_the_bots(self, stage: Stage) -> None:
        assert (await stage.send("x"))[0] == 200
        assert stage.fake.calls[0][1]["pending_post_id"].startswith(f"{BOT_ID}:")

    async def test_a_server_must_be_named(self, stage: Stage) -> None:
        bot = {"id": "other", "adapter": "mattermost", "config": {"mattermost_bot_token": "x"}}
        status, answer = await stage.call("POST", "/api/v1/bots", bot)
        assert (status, answer["code"]) == (400, "invalid_config")

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        status, answer = await stage.call("POST", f"/api/v1/bots/{BOT}/test")
        assert (status, answer["data"]) == (200, {"id": BOT_ID, "name": "palaver"})


class TestMattermostReceiving(ReceivingSuite):
    fake_type = MattermostFake

    async def test_what_was_posted_during_a_gap_is_answered(self, stage: Stage) -> None:
        """The socket repeats nothing."""
        fake = stage.fake
        assert isinstance(fake, MattermostFake)
        await fake.receive("before")
        await fake.until(lambda: fake.texts() == ["before"])
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"enabled": False}))[0] == 200
        await fake.until(lambda: not fake.sockets)
        fake.new_post("during")
        fake.new_post("joined", type="system_join_channel")
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"enabled": True}))[0] == 200
        await fake.until(lambda: fake.texts() == ["before", "during"])

    async def test_a_connection_that_is_cut_is_made_again(self, stage: Stage) -> None:
        """AstrBot #8504: after five attempts the bot stays dead."""
        fake = stage.fake
        assert isinstance(fake, MattermostFake)
        for n in range(7):
            await fake.receive(f"number {n}")
            await fake.until(lambda n=n: f"number {n}" in fake.texts())  # type: ignore[misc]
            await fake.sockets[0].close()
            await fake.until(lambda: not fake.sockets)
        assert len(fake.texts()) == 7

    async def test_another_name_that_begins_like_the_bots_is_no_mention(self, stage: Stage) -> None:
        fake = stage.fake
        assert isinstance(fake, MattermostFake)
        await fake.until(lambda: bool(fake.sockets))
        await fake.report(fake.new_post("@palaver-two hello", group=True))
        await fake.report(fake.new_post("hello @Palaver.", group=True))
        await fake.until(lambda: len(fake.texts(fake.group)) == 1)


class TestMattermostLive(LiveSuite):
    fake_type = MattermostFake
