"""Mattermost: the shared suite, and what is Mattermost's own."""

from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import MARKDOWN, SendingSuite
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
