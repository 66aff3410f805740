"""QQ's official bots: the shared suite, and what is QQ's own."""

import pytest

from tests.bots.platforms.conftest import BOT, PNG, Stage
from tests.bots.platforms.suite import SendingSuite
from tests.support.platforms.qq_official import QQOfficialFake


class TestQQOfficial(SendingSuite):
    fake_type = QQOfficialFake

    async def test_a_token_is_used_for_many_messages(self, stage: Stage) -> None:
        assert isinstance(stage.fake, QQOfficialFake)
        for n in range(3):
            assert (await stage.send(f"number {n}"))[0] == 200
        assert len(stage.fake.tokens) == 1

    async def test_a_token_that_has_run_out_is_renewed(self, stage: Stage) -> None:
        assert isinstance(stage.fake, QQOfficialFake)
        assert (await stage.send("before"))[0] == 200
        stage.fake.revoke()
        assert (await stage.send("after"))[0] == 200
        assert stage.fake.texts() == ["before", "after"]
        assert len(stage.fake.tokens) == 2

    async def test_a_secret_that_is_refused_with_200_stops_the_bot(self, stage: Stage) -> None:
        assert isinstance(stage.fake, QQOfficialFake)
        stage.fake.secret = "another"
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert (await stage.delivery(answer))["error_code"] == "delivery_failed:100016"
        assert stage.fake.calls == []

    async def test_a_message_without_an_earlier_one_is_tried_all_the_same(self, stage: Stage) -> None:
        """AstrBot 7904: a message after 12 hours was dropped, and reported as sent."""
        status, answer = await stage.send("good morning")
        assert status == 200, answer
        assert stage.fake.texts() == ["good morning"]
        assert stage.fake.seen()[0].extra["msg_id"] is None

    async def test_messages_in_a_row_have_numbers_of_their_own(self, stage: Stage) -> None:
        """AstrBot 4382, 1170: numbers were drawn at random, and messages taken for repeats."""
        for n in range(5):
            assert (await stage.send(f"number {n}"))[0] == 200
        assert len({each.extra["msg_seq"] for each in stage.fake.seen()}) == 5

    @pytest.mark.parametrize(("kind", "shown"), [("image", "image"), ("file", "file"), ("record", "file")])
    async def test_files_are_uploaded_first(self, stage: Stage, kind: str, shown: str) -> None:
        id = await stage.upload()
        status, answer = await stage.send([{"type": kind, "attachment_id": id}])
        assert status == 200, answer
        assert [(each.kind, each.content) for each in stage.fake.seen()] == [(shown, PNG)]

    async def test_a_channel_takes_texts_and_images(self, stage: Stage) -> None:
        parts = [{"type": "plain", "text": "look"}, {"type": "image", "attachment_id": await stage.upload()}]
        assert (await stage.send(parts, "123456", group=True))[0] == 200
        assert [(each.text, each.content) for each in stage.fake.seen("123456")] == [("look", b""), ("", PNG)]

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        async with stage.bots.use(BOT) as bot:
            assert (await bot.adapter.check()).name == "Palaver"  # type: ignore[attr-defined]
