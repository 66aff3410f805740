"""OneBot v11: the shared suite, and what is OneBot's own."""

import pytest

from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import SendingSuite
from tests.support.platforms.onebot import OneBotFake


class TestOneBot(SendingSuite):
    fake_type = OneBotFake

    async def test_messages_share_one_connection(self, stage: Stage) -> None:
        assert isinstance(stage.fake, OneBotFake)
        for n in range(3):
            assert (await stage.send(f"number {n}"))[0] == 200
        assert stage.fake.opened == 1

    async def test_a_connection_that_broke_is_opened_again(self, stage: Stage) -> None:
        assert isinstance(stage.fake, OneBotFake)
        assert (await stage.send("before"))[0] == 200
        await stage.fake.connections[0].close()
        assert (await stage.send("after"))[0] == 200
        assert stage.fake.texts() == ["before", "after"]
        assert stage.fake.opened == 2

    async def test_a_wrong_token_stops_the_bot(self, stage: Stage) -> None:
        config = {**stage.fake.config(), "access_token": "another"}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        status, answer = await stage.send("let me in")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "token" in answer["message"]

    async def test_an_answer_async_is_not_taken_for_sent(self, stage: Stage) -> None:
        assert isinstance(stage.fake, OneBotFake)
        stage.fake.answers = [{"status": "async", "retcode": 1, "data": None}]
        status, answer = await stage.send("perhaps")
        assert (status, answer["data"]["state"]) == (504, "unknown")
        assert stage.fake.texts() == ["perhaps"]

    async def test_a_timeout_of_the_client_is_not_taken_for_a_refusal(self, stage: Stage) -> None:
        assert isinstance(stage.fake, OneBotFake)
        reason = "Error: Timeout: NTEvent serviceAndMethod:NodeIKernelMsgService/sendMsg"
        stage.fake.answers = [{"status": "failed", "retcode": 1200, "data": None, "message": reason}]
        status, answer = await stage.send("perhaps")
        assert (status, answer["data"]["state"]) == (504, "unknown")
        assert len(stage.fake.calls) == 1

    async def test_a_user_of_a_group_is_answered_in_the_group_as_in_astrbot(self, stage: Stage) -> None:
        assert (await stage.send("hello", f"777_{stage.fake.group}", group=True))[0] == 200
        assert stage.fake.texts(stage.fake.group) == ["hello"]

    @pytest.mark.parametrize("kind", ["file", "record", "video"])
    async def test_files_are_alone_in_their_messages(self, stage: Stage, kind: str) -> None:
        id = await stage.upload("notes.bin", b"bytes of it")
        parts = [{"type": "reply", "message_id": "5"}, {"type": kind, "attachment_id": id, "filename": "n.bin"}]
        status, answer = await stage.send(parts)
        assert status == 200, answer
        (message,) = stage.fake.seen()
        assert (message.kind, message.filename, message.content) == (kind, "n.bin", b"bytes of it")

    async def test_a_quotation_goes_on_the_first_piece(self, stage: Stage) -> None:
        parts = [{"type": "reply", "message_id": "-77"}, {"type": "plain", "text": "word " * 1500}]
        assert (await stage.send(parts))[0] == 200
        assert [message.reply_to for message in stage.fake.seen()] == ["-77", None]
