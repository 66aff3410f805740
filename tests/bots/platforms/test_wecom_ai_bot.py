"""WeCom's AI bots: the shared suites, and what is theirs."""

import asyncio

import pytest

from app.bots.adapters.wecom_ai_bot import WAITS
from tests.bots.platforms.conftest import BOT, PNG, Stage, connection_of
from tests.bots.platforms.suite import LiveSuite, ReceivingSuite, SendingSuite
from tests.support.answers import reply
from tests.support.model_server import ModelServer
from tests.support.platforms.base import Fault
from tests.support.platforms.wecom_ai_bot import WeComAiBotCallbackFake, WeComAiBotFake


class TestWeComAiBot(SendingSuite):
    fake_type = WeComAiBotFake

    async def test_sessions_may_have_the_form_of_an_astrbot(self, stage: Stage) -> None:
        assert (await stage.send("hello", f"wecom_ai_bot_wecomai_{stage.fake.session}"))[0] == 200
        assert stage.fake.texts() == ["hello"]

    async def test_files_are_uploaded_in_pieces(self, stage: Stage) -> None:
        content = bytes(range(256)) * 4096
        id = await stage.upload("notes.bin", content)
        assert (await stage.send([{"type": "file", "attachment_id": id}]))[0] == 200
        assert [(each.kind, each.filename, each.content) for each in stage.fake.seen()] == [
            ("file", "notes.bin", content)
        ]

    async def test_a_limit_is_waited_for(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(WAITS, 45009, 0.1)
        _fake(stage).codes.append(45009)
        assert (await stage.send("patience"))[0] == 200
        assert stage.fake.texts() == ["patience"]

    async def test_a_busy_system_is_tried_again(self, stage: Stage) -> None:
        _fake(stage).codes.append(6000)
        assert (await stage.send("again"))[0] == 200
        assert stage.fake.texts() == ["again"]

    async def test_credentials_that_are_wrong_are_a_state_with_a_reason(self, stage: Stage) -> None:
        patch = {"config": {"wecomaibot_ws_secret": "another"}}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", patch))[0] == 200
        assert "invalid bot_id or secret" in (await connection_of(stage, "failed"))["last_error"]
        status, answer = await stage.send("let me in")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert (await stage.call("POST", f"/api/v1/bots/{BOT}/test"))[0] == 502
        assert stage.fake.calls == []

    async def test_settings_are_checked(self, stage: Stage) -> None:
        ids = {"wecomaibot_ws_bot_id": "a", "wecomaibot_ws_secret": "b"}
        webhook = {"wecom_ai_bot_connection_mode": "webhook"}
        for config in (
            {},
            {**ids, "wecomaibot_encoding_aes_key": "short"},
            {**webhook, "wecomaibot_token": "t"},
            {**ids, "wecomaibot_ws_url": "ftp://example.com"},
        ):
            body = {"id": "other", "adapter": "wecom_ai_bot", "config": config}
            status, answer = await stage.call("POST", "/api/v1/bots", body)
            assert (status, answer["code"]) == (400, "invalid_config"), config


class TestWeComAiBotReceiving(ReceivingSuite):
    fake_type = WeComAiBotFake

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        """A file on WeCom has no text."""
        await stage.fake.receive("", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        (part,) = (await self._parts(stage, session.id))[0]
        assert part["type"] == "file"
        answer = await stage.client.request("GET", f"/api/v1/file?attachment_id={part['attachment_id']}")
        assert answer.content == b"the hostas have arrived"

    async def test_pictures_and_speech_are_read(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.receive("", file=("x.png", PNG))  # so that there is a file to download
        await fake.until(lambda: bool(fake.texts()))
        file = {"url": f"{fake.url}/files/{min(fake.files)}", "aeskey": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"}
        items = [{"msgtype": "text", "text": {"content": "what is this?"}}, {"msgtype": "image", "image": file}]
        message = {"chattype": "single", "from": {"userid": fake.session}}
        await fake.report({**message, "msgid": "m1", "msgtype": "mixed", "mixed": {"msg_item": items}})
        await fake.until(lambda: len(fake.texts()) == 2)
        await fake.report({**message, "msgid": "m2", "msgtype": "voice", "voice": {"content": "and aloud?"}})
        await fake.until(lambda: fake.texts()[2:] == ["and aloud?"])
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert [part["type"] for part in parts[2]] == ["plain", "image"]

    async def test_a_quoted_answer_is_known_as_our_message(self, stage: Stage) -> None:
        pytest.skip("WeCom tells the words that are quoted, and not whose")

    async def test_words_that_are_quoted_are_said(self, stage: Stage, model: ModelServer) -> None:
        await stage.fake.receive("first")
        await stage.fake.until(lambda: stage.fake.texts() == ["first"])
        await stage.fake.receive("what do you mean?", quote=stage.fake.seen()[0])
        await stage.fake.until(lambda: len(stage.fake.texts()) == 2)
        assert "> first" in str(model.requests[-1].body["messages"][-1])

    async def test_a_bot_that_was_taken_over_does_not_fight(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: bool(fake.sockets))
        await fake._take_over(fake.sockets[0])
        assert "one only" in (await connection_of(stage, "failed"))["last_error"]
        assert fake.subscribed == 2

    async def test_a_connection_that_is_cut_is_made_again(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: bool(fake.sockets))
        await fake.sockets[0].close()
        await fake.until(lambda: fake.subscribed == 2)
        await fake.receive("still there?")
        await fake.until(lambda: fake.texts() == ["still there?"])

    @pytest.mark.parametrize("settings", [{"wecomaibot_friend_message_welcome_text": "Welcome!"}])
    async def test_who_comes_is_greeted(self, stage: Stage) -> None:
        fake = _fake(stage)
        event = {"from": {"userid": "LiSi"}, "msgtype": "event", "event": {"eventtype": "enter_chat"}}
        await fake.report(event, "aibot_event_callback")
        await fake.until(lambda: fake.welcomes == ["Welcome!"])

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        await connection_of(stage, "connected")
        status, answer = await stage.call("POST", f"/api/v1/bots/{BOT}/test")
        assert (status, answer["data"]) == (200, {"id": "aib_test", "name": "Palaver"})


class TestWeComAiBotLive(LiveSuite):
    fake_type = WeComAiBotFake

    async def test_the_end_is_seen_although_edits_were_limited(self, stage: Stage, model: ModelServer) -> None:
        pytest.skip("WeCom tells no time to wait")

    async def test_the_end_is_sent_anew_when_the_stream_is_over(self, stage: Stage, model: ModelServer) -> None:
        """AstrBot 5401, 5817: what comes too late for a stream reaches nobody."""
        fake = _fake(stage)
        gate = asyncio.Event()
        model.script(reply(["The beginning", " and the end"], gate=gate, hold_after=1))
        await fake.receive("tell me")
        await fake.until(lambda: fake.texts() == ["The beginning"])
        fake.over.update(fake.streams)
        gate.set()
        await fake.until(lambda: fake.texts() == ["The beginning", "The beginning and the end"])

    async def test_the_right_to_answer_is_gone_with_its_connection(self, stage: Stage, model: ModelServer) -> None:
        fake = _fake(stage)
        gate = asyncio.Event()
        model.script(reply(["late"], gate=gate, hold_after=0))
        await fake.receive("tell me")
        await model.wait_for_requests(1)
        await fake.sockets[0].close()
        await fake.until(lambda: fake.subscribed == 2)
        gate.set()
        await fake.until(lambda: fake.texts() == ["late"])
        assert [method for method, _ in fake.calls] == ["aibot_respond_msg", "aibot_send_msg"]


class TestWeComAiBotCallbacks(ReceivingSuite):
    fake_type = WeComAiBotCallbackFake

    @pytest.fixture(autouse=True)
    def door(self, stage: Stage) -> None:
        _callbacks(stage).door = f"{stage.server.base_url}/api/v1/im/webhooks/{BOT}"

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        fake = _callbacks(stage)
        await fake.receive("", file=("notes.txt", b"the hostas have arrived"))
        await fake.until(lambda: bool(fake.texts()))
        (session,) = await self._sessions(stage)
        assert [part["type"] for part in (await self._parts(stage, session.id))[0]] == ["file"]

    async def test_a_quoted_answer_is_known_as_our_message(self, stage: Stage) -> None:
        pytest.skip("as over the long connection")

    async def test_a_long_reply_is_split(self, stage: Stage, model: ModelServer) -> None:
        """There is one answer to a message: what does not fit into it is not sent, and that is said."""
        model.script(reply(["word " * 6000], one_write=True))
        await stage.fake.receive("go on")
        await stage.fake.until(lambda: len(stage.fake.texts()) == 1)
        _, answer = await stage.call("GET", f"/api/v1/im/deliveries?bot_id={BOT}")
        (delivery,) = answer["data"]["deliveries"]
        assert delivery["umo"] == stage.umo()

    @pytest.mark.parametrize("kind", ["close_after", "server_error_after"])
    async def test_an_answer_that_may_have_arrived_is_given_once(self, stage: Stage, kind: str) -> None:
        stage.fake.script = [Fault(kind)]  # type: ignore[arg-type]
        await stage.fake.receive("once")
        await stage.fake.until(lambda: stage.fake.texts() == ["once"])
        assert len(stage.fake.calls) == 1

    async def test_nobody_is_written_to_who_has_not_written(self, stage: Stage) -> None:
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "answer" in answer["message"]
        assert stage.fake.calls == []

    async def test_the_console_gets_its_text_back(self, stage: Stage) -> None:
        fake = _callbacks(stage)
        assert await fake.report({}, echo="12345") == 200
        assert fake.answer == "12345"

    async def test_callbacks_of_others_are_refused(self, stage: Stage) -> None:
        fake = _callbacks(stage)
        assert await fake.report({"msgid": "1"}, token="another") == 401
        assert await fake.report({}, token="another", echo="12345") == 401
        assert await fake.report({"msgtype": "stream", "stream": {"id": "x"}}) == 200
        assert fake.seen() == []


def _fake(stage: Stage) -> WeComAiBotFake:
    assert isinstance(stage.fake, WeComAiBotFake)
    return stage.fake


def _callbacks(stage: Stage) -> WeComAiBotCallbackFake:
    assert isinstance(stage.fake, WeComAiBotCallbackFake)
    return stage.fake
