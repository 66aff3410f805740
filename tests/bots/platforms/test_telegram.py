"""Telegram: the shared suite, and what is Telegram's own."""

import asyncio

from sqlalchemy import select

from app.chat.models import MessageRow
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import LiveSuite, ReceivingSuite, SendingSuite
from tests.support.platforms.telegram import TelegramFake
from tests.support.waiting import until


class TestTelegram(SendingSuite):
    fake_type = TelegramFake

    async def test_a_topic_is_part_of_the_session(self, stage: Stage) -> None:
        assert (await stage.send("in the topic", f"{stage.fake.group}#9", group=True))[0] == 200
        assert stage.fake.texts(f"{stage.fake.group}#9") == ["in the topic"]

    async def test_a_quotation_goes_on_the_first_piece(self, stage: Stage) -> None:
        long = "word " * 1500
        parts = [{"type": "reply", "message_id": "77"}, {"type": "plain", "text": long}]
        assert (await stage.send(parts))[0] == 200
        assert [message.reply_to for message in stage.fake.seen()] == ["77", None]

    async def test_a_group_that_has_moved_is_reached_at_its_new_number(self, stage: Stage) -> None:
        assert isinstance(stage.fake, TelegramFake)
        stage.fake.moved["-5"] = -1009
        assert (await stage.send("hello", "-5", group=True))[0] == 200
        assert stage.fake.texts("-1009") == ["hello"]

    async def test_code_keeps_its_language_and_its_signs(self, stage: Stage) -> None:
        assert (await stage.send("```python\nif a < b & c: print('*x*')\n```"))[0] == 200
        assert stage.fake.texts() == ["if a < b & c: print('*x*')"]


class TestTelegramReceiving(ReceivingSuite):
    fake_type = TelegramFake

    async def test_a_message_is_quoted_by_our_number_in_its_own_chat_only(self, stage: Stage) -> None:
        asked = await stage.fake.receive("first")

        async def is_sent() -> bool:
            _, answer = await stage.call("GET", "/api/v1/im/deliveries?state=sent")
            return bool(answer["data"]["deliveries"])

        await until(is_sent)
        query = select(MessageRow.id).order_by(MessageRow.id)
        numbers = await stage.server.core.database.read(lambda connection: list(connection.scalars(query)))
        for number in numbers:
            for group in (False, True):
                parts = [{"type": "reply", "message_id": number}, {"type": "plain", "text": f"on {number}"}]
                assert (await stage.send(parts, group=group))[0] == 200
        answer, *quoting = stage.fake.seen()
        assert [message.reply_to for message in quoting] == [asked, answer.id]
        # Elsewhere it is taken for the platform's own.
        assert [message.reply_to for message in stage.fake.seen(stage.fake.group)] == list(map(str, numbers))

    async def test_the_connection_and_the_identity_are_shown(self, stage: Stage) -> None:
        connection = None
        async with asyncio.timeout(10):
            while connection is None or connection["state"] != "connected":
                _, answer = await stage.call("GET", f"/api/v1/bots/{BOT}")
                connection = answer["data"]["connection"]
                await asyncio.sleep(0.05)
        assert connection["identity"] == {"id": "7", "name": "Palaver"}
        status, answer = await stage.call("POST", f"/api/v1/bots/{BOT}/test")
        assert (status, answer["data"]) == (200, {"id": "7", "name": "Palaver"})

    async def test_a_revoked_token_is_a_state_with_a_reason(self, stage: Stage) -> None:
        assert isinstance(stage.fake, TelegramFake)
        stage.fake.is_known = False
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"name": "changed"})
        async with asyncio.timeout(10):
            while True:
                _, answer = await stage.call("GET", f"/api/v1/bots/{BOT}")
                connection = answer["data"]["connection"]
                if connection is not None and connection["state"] == "failed":
                    break
                await asyncio.sleep(0.05)
        assert connection["last_error"] == "Telegram does not accept the bot's token"
        assert (await stage.call("POST", f"/api/v1/bots/{BOT}/test"))[0] == 502

    async def test_updates_come_by_webhook_where_that_is_set(self, stage: Stage) -> None:
        assert isinstance(stage.fake, TelegramFake)
        fake = stage.fake
        for url in (f"/api/v1/im/webhooks/{BOT}", "/api/platform/webhook/abc-123"):
            config = {"webhook_url": stage.server.base_url + url, "webhook_uuid": "abc-123"}
            assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
            await fake.until(lambda url=url: fake.webhook is not None and fake.webhook["url"].endswith(url))  # type: ignore[misc]
            await fake.receive(f"by {url}", times=2)
            await fake.until(lambda url=url: f"by {url}" in fake.texts())  # type: ignore[misc]
        assert len(fake.texts()) == 2
        assert fake.webhook is not None
        fake.webhook["secret_token"] = "another"
        assert await fake.report({"update_id": 1, "message": {}}) == 401


class TestTelegramLive(LiveSuite):
    fake_type = TelegramFake
