"""OneBot v11: the shared suite, and what is OneBot's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from app.bots.adapters.onebot_events import event_of
from tests.bots.platforms.conftest import BOT, Stage, connection_of
from tests.bots.platforms.suite import ReceivingSuite, SendingSuite
from tests.support.platforms.base import Fault
from tests.support.platforms.onebot import TOKEN, OneBotFake


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


class TestOneBotReceiving(ReceivingSuite):
    fake_type = OneBotFake

    async def test_a_connection_that_ends_is_made_again(self, stage: Stage) -> None:
        fake = stage.fake
        assert isinstance(fake, OneBotFake)
        await fake.receive("before")
        await fake.until(lambda: fake.texts() == ["before"])
        for n in range(6):  # AstrBot gave up after the fifth time
            await fake.connections[-1].close()
            await fake.until(lambda n=n: fake.opened == n + 2)  # type: ignore[misc]
        await fake.receive("after")
        await fake.until(lambda: fake.texts() == ["before", "after"])

    async def test_a_wrong_token_is_a_state_with_a_reason(self, stage: Stage) -> None:
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": {"access_token": "another"}})
        connection = await connection_of(stage, "failed")
        assert "token" in connection["last_error"]

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        assert (await connection_of(stage, "connected"))["identity"] == {"id": "10001", "name": "Palaver"}


class TestOneBotReverse:
    """The client opens the WebSocket."""

    fake_type = OneBotFake

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow": ["*"], "api_base_url": None, "ws_reverse_token": TOKEN}

    async def test_messages_go_both_ways_on_it(self, stage: Stage) -> None:
        fake = stage.fake
        assert isinstance(fake, OneBotFake)
        async with dialled(stage):
            assert (await stage.send("hello"))[0] == 200
            await fake.receive("how are you?", times=2)
            await fake.until(lambda: len(fake.texts()) == 2)
            assert (await connection_of(stage, "connected"))["identity"] == {"id": "10001", "name": "Palaver"}
        status, answer = await stage.send("anybody there?")
        assert (status, answer["data"]["state"]) == (502, "dead")
        assert "not connected" in answer["message"]
        async with dialled(stage):
            assert (await stage.send("back"))[0] == 200
        assert fake.texts()[-1] == "back"

    async def test_a_cut_leaves_the_message_unknown(self, stage: Stage) -> None:
        async with dialled(stage):
            stage.fake.script = [Fault("close_after")]
            status, answer = await stage.send("once")
            assert (status, answer["data"]["state"]) == (504, "unknown")
        assert stage.fake.texts() == ["once"]

    @pytest.mark.parametrize(("token", "role"), [("another", "Universal"), ("", "Universal"), (TOKEN, "Event")])
    async def test_a_stranger_is_turned_away(self, stage: Stage, token: str, role: str) -> None:
        assert isinstance(stage.fake, OneBotFake)
        async with asyncio.timeout(10):
            with pytest.raises((aiohttp.WSServerHandshakeError, ConnectionError)):
                await stage.fake.dial(socket_url(stage), token, role)
                raise ConnectionError  # accepted, and closed at once
        assert (await stage.send("hello"))[0] == 502

    async def test_it_takes_a_token(self, stage: Stage) -> None:
        bot = {"id": "other", "adapter": "aiocqhttp", "config": {}}
        status, answer = await stage.call("POST", "/api/v1/bots", bot)
        assert (status, answer["code"]) == (400, "invalid_config")


def test_cq_codes_are_read() -> None:
    message = (
        "[CQ:reply,id=-12][CQ:at,qq=10001] a &#91;b&#93; &amp; c[CQ:image,file=cat.png,url=http://x/y?a=1&amp;b=2]"
    )
    event = event_of(
        {
            "post_type": "message",
            "message_type": "group",
            "self_id": 10001,
            "user_id": 7,
            "group_id": 8,
            "message_id": 9,
            "time": 1_790_000_000,
            "message": message,
        }
    )
    assert event is not None
    assert (event.text, event.addressed, event.quote and event.quote.platform_id) == ("a [b] & c", True, "-12")
    assert [media.reference["url"] for media in event.media] == ["http://x/y?a=1&b=2"]


def socket_url(stage: Stage) -> str:
    return f"{stage.server.base_url}/api/v1/im/onebot/{BOT}/ws"


@asynccontextmanager
async def dialled(stage: Stage) -> AsyncIterator[None]:
    """A client that is connected for as long as the block lasts."""
    fake = stage.fake
    assert isinstance(fake, OneBotFake)
    client = asyncio.create_task(fake.dial(socket_url(stage)))
    try:
        await fake.until(lambda: bool(fake.connections) or client.done())
        yield
    finally:
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        await asyncio.sleep(0.1)
