"""Matrix: the shared suite, and what is Matrix's own."""

import pytest

from app.bots.adapters.base import Call, Fragment, Target
from app.chat.parts import Text
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import MARKDOWN, LiveSuite, ReceivingSuite, SendingSuite
from tests.support.platforms.base import Fault
from tests.support.platforms.matrix import MatrixFake, refuse


class TestMatrix(SendingSuite):
    fake_type = MatrixFake
    is_keyed = True

    async def test_an_encrypted_room_is_refused_by_name(self, stage: Stage) -> None:
        fake = _fake(stage)
        fake.encrypted.add(fake.session)
        status, answer = await stage.send("psst")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "encrypted" in answer["message"]
        assert fake.seen() == []
        assert (await stage.send("others can read", group=True))[0] == 200

    async def test_formatting_is_html_and_the_body_is_plain(self, stage: Stage) -> None:
        assert (await stage.send(MARKDOWN))[0] == 200
        content = _fake(stage).contents[0]
        assert "<strong>bold</strong>" in content["formatted_body"]
        assert "**" not in content["body"]
        assert (await stage.send("just a & b <c>"))[0] == 200
        assert _fake(stage).contents[1] == {"msgtype": "m.text", "body": "just a & b <c>", "m.mentions": {}}

    async def test_nobody_is_mentioned_by_what_a_model_writes(self, stage: Stage) -> None:
        assert (await stage.send("@room wake up, @alice:example.org"))[0] == 200
        assert _fake(stage).contents[0]["m.mentions"] == {}

    async def test_a_long_text_full_of_marks_fits_an_event_even_as_an_edit(self, stage: Stage) -> None:
        text = "**a** & <b> " * 2500
        assert (await stage.send(text))[0] == 200
        target = Target("FriendMessage", stage.fake.session)
        async with stage.bots.use(BOT) as bot:
            longest = max(bot.adapter.plan(target, [Text(text)]), key=lambda each: len(str(each.payload)))
            edit = Fragment(longest.payload, action="edit", platform_id=stage.fake.seen()[0].id)
            await bot.adapter.deliver(Call(target, edit, "e" * 32))
        assert stage.fake.seen()[0].edits == 1

    async def test_a_quotation_is_a_reply(self, stage: Stage) -> None:
        parts = [{"type": "reply", "message_id": "$question"}, {"type": "plain", "text": "answer"}]
        assert (await stage.send(parts))[0] == 200
        assert stage.fake.seen()[0].reply_to == "$question"

    async def test_astrbots_session_of_a_user_in_a_room_is_the_room(self, stage: Stage) -> None:
        assert (await stage.send("x", f"@alice:example.org_{stage.fake.group}", group=True))[0] == 200
        assert stage.fake.texts(stage.fake.group) == ["x"]

    async def test_a_repeat_after_any_time_is_the_same_event(self, stage: Stage) -> None:
        stage.fake.script = [Fault("close_after"), Fault("server_error_after"), Fault("close_before"), None]
        status, answer = await stage.send("once")
        assert status == 200, answer
        assert answer["data"]["message_ids"] == [stage.fake.seen()[0].id]

    async def test_the_header_tells_how_long_to_wait(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        limited = refuse(429, "M_LIMIT_EXCEEDED", "Too many requests")
        limited.headers["Retry-After"] = "1"
        answers = [limited]
        monkeypatch.setattr(stage.fake, "_problem", lambda _request: answers.pop() if answers else None)
        assert (await stage.send("patience"))[0] == 200

    async def test_a_homeserver_must_be_named(self, stage: Stage) -> None:
        bot = {"id": "other", "adapter": "matrix", "config": {"matrix_access_token": "x"}}
        status, answer = await stage.call("POST", "/api/v1/bots", bot)
        assert (status, answer["code"]) == (400, "invalid_config")

    async def test_typing_is_shown(self, stage: Stage) -> None:
        async with stage.bots.use(BOT) as bot:
            await bot.adapter.typing(Target("FriendMessage", stage.fake.session))  # type: ignore[attr-defined]
        assert _fake(stage).typing_rooms == [stage.fake.session]


class TestMatrixReceiving(ReceivingSuite):
    fake_type = MatrixFake

    async def test_nothing_from_before_the_first_connection_is_answered(self, stage: Stage) -> None:
        await stage.fake.receive("now")
        await stage.fake.until(lambda: stage.fake.texts() == ["now"])

    async def test_own_messages_and_edits_are_not_answered(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: fake.is_followed)
        own = fake.message_of("mine")
        own["sender"] = "@palaver:example.org"
        fake.report(fake.session, own)
        fake.report(fake.session, fake.message_of("* fixed", **{"m.relates_to": {"rel_type": "m.replace"}}))
        await fake.receive("now")
        await fake.until(lambda: fake.texts() == ["now"])

    async def test_a_room_that_is_encrypted_is_told_so_once(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: fake.is_followed)
        for n in range(2):
            fake.report(fake.group, {"type": "m.room.encrypted", "event_id": f"$e{n}", "sender": "@u42:example.org"})
        await fake.receive("go on")
        await fake.until(lambda: fake.texts() == ["go on"])
        assert len(fake.seen(fake.group)) == 1
        assert "encrypted" in fake.texts(fake.group)[0]

    @pytest.mark.parametrize("settings", [{"allow": ["@friend:example.org"], "pairing": False}])
    async def test_invitations_of_those_who_may_talk_are_accepted(self, stage: Stage) -> None:
        fake = _fake(stage)
        await fake.until(lambda: fake.is_followed)
        for room, sender in (("!a:x", "@friend:example.org"), ("!b:x", "@stranger:example.org")):
            state = {"type": "m.room.member", "state_key": "@palaver:example.org", "sender": sender}
            fake.invited[room] = {**state, "content": {"membership": "invite", "is_direct": True}}
        fake.report(fake.session, fake.message_of("x"))
        await fake.until(lambda: fake.joined == ["!a:x"])
        assert "!b:x" in fake.invited


class TestMatrixLive(LiveSuite):
    fake_type = MatrixFake


def _fake(stage: Stage) -> MatrixFake:
    assert isinstance(stage.fake, MatrixFake)
    return stage.fake
