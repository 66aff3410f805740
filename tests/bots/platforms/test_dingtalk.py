"""DingTalk: the shared suite, and what is DingTalk's own."""

from functools import partial

import pytest
from aiohttp import web

from tests.bots.platforms.conftest import Stage
from tests.bots.platforms.suite import ReceivingSuite, SendingSuite
from tests.support.platforms.dingtalk import DingTalkFake


class TestDingTalk(SendingSuite):
    fake_type = DingTalkFake

    async def test_a_200_that_lists_the_user_as_invalid_is_not_delivered(self, stage: Stage) -> None:
        _fake(stage).invalid.add(stage.fake.session)
        status, answer = await stage.send("hello")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert stage.fake.seen() == []

    async def test_a_200_that_lists_the_user_under_flow_control_is_waited_for(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.bots.adapters.dingtalk.FLOW_CONTROL_SECONDS", 0.2)
        _fake(stage).controlled.append(stage.fake.session)
        assert (await stage.send("hello"))[0] == 200
        assert stage.fake.texts() == ["hello"]
        assert len(stage.fake.calls) == 2

    async def test_a_token_that_has_expired_is_replaced_once(self, stage: Stage) -> None:
        fake = _fake(stage)
        assert (await stage.send("one"))[0] == 200
        fake.expired.update(fake.tokens)
        id = await stage.upload()
        assert (await stage.send([{"type": "image", "attachment_id": id}]))[0] == 200
        fake.expired.update(fake.tokens)
        assert (await stage.send("two"))[0] == 200
        assert [message.kind for message in fake.seen()] == ["text", "image", "text"]
        assert len(fake.tokens) == 3

    async def test_a_title_is_made_of_the_first_line(self, stage: Stage) -> None:
        assert (await stage.send("# The *news*\n\nmore"))[0] == 200
        assert '"title":"The news"' in stage.fake.calls[0][1]["msgParam"]

    async def test_a_group_is_a_conversation_and_a_user_is_not(self, stage: Stage) -> None:
        assert (await stage.send("x", "manager42", group=True))[1]["code"] == "invalid_umo"
        assert (await stage.send("x", "cidGROUP7=="))[1]["code"] == "invalid_umo"

    async def test_recordings_and_other_files_are_files(self, stage: Stage) -> None:
        id = await stage.upload("notes.txt", b"notes")
        assert (await stage.send([{"type": "record", "attachment_id": id}]))[0] in (200, 400)
        assert (await stage.send([{"type": "file", "attachment_id": id}]))[0] == 200
        message = stage.fake.seen()[-1]
        assert (message.kind, message.filename, message.content) == ("file", "notes.txt", b"notes")


class TestDingTalkReceiving(ReceivingSuite):
    fake_type = DingTalkFake

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        """Text and files come together as rich text only, and there as pictures."""
        await stage.fake.receive("read this", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert parts[0][0]["type"] == "plain"
        assert parts[0][1]["attachment_id"]

    async def test_a_quoted_answer_is_known_as_our_message(self, stage: Stage) -> None:
        """DingTalk does not tell the ids of the robot's own messages; the text of the quoted one comes along."""
        await stage.fake.receive("first")
        await stage.fake.until(lambda: stage.fake.texts() == ["first"])
        await stage.fake.receive("what do you mean?", quote=stage.fake.seen()[0])
        await stage.fake.until(lambda: len(stage.fake.texts()) == 2)

    async def test_it_is_acknowledged_before_the_model_answers(self, stage: Stage) -> None:
        """DingTalk-connector #302, soimy #390, #392: what is acknowledged late is reported again."""
        fake = _fake(stage)
        await fake.receive("hello", times=3)
        await fake.until(lambda: len(fake.answers) == 3)
        assert all(answer["code"] == 200 for answer in fake.answers)
        await fake.until(lambda: fake.texts() == ["hello"])

    async def test_pings_are_answered_with_their_data(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: bool(fake.sockets))
        await fake.push("SYSTEM", "ping", {"opaque": "0xff"})
        await fake.until(lambda: bool(fake.answers))
        assert fake.answers[0]["data"] == '{"opaque":"0xff"}'

    async def test_a_bot_does_not_stay_dead_after_five_reconnects(self, stage: Stage) -> None:
        """AstrBot #8504."""
        fake = _fake(stage)
        for _ in range(6):
            await fake.until(lambda: len(fake.sockets) == 1)
            (socket,) = fake.sockets
            await fake.push("SYSTEM", "disconnect", {"reason": "persistent connection timeout"})
            await fake.until(partial(_is_gone, fake, socket))
        await fake.receive("still there?")
        await fake.until(lambda: fake.texts() == ["still there?"])


def _is_gone(fake: DingTalkFake, socket: web.WebSocketResponse) -> bool:
    return socket not in fake.sockets


def _fake(stage: Stage) -> DingTalkFake:
    assert isinstance(stage.fake, DingTalkFake)
    return stage.fake
