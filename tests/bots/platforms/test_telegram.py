"""Telegram: the shared suite, and what is Telegram's own."""

from tests.bots.platforms.conftest import Stage
from tests.bots.platforms.suite import SendingSuite
from tests.support.platforms.telegram import TelegramFake


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
