"""WeCom's applications: the shared suite, and what is WeCom's own."""

import pytest

from app.bots.adapters.wecom import WAITS
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import ReceivingSuite, SendingSuite
from tests.support.platforms.wecom import WeComFake


class TestWeCom(SendingSuite):
    fake_type = WeComFake

    async def test_chinese_counts_in_bytes(self, stage: Stage) -> None:
        """AstrBot splits at 2048 characters, and WeCom cuts what is over 2048 bytes."""
        text = "我们说中文。" * 400
        assert (await stage.send(text))[0] == 200
        assert "".join(stage.fake.texts()) == text
        assert len(stage.fake.texts()) > 3

    async def test_a_200_that_names_the_user_as_invalid_is_not_delivered(self, stage: Stage) -> None:
        _fake(stage).invalid.add(stage.fake.session)
        status, answer = await stage.send("hello")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")

    @pytest.mark.parametrize("code", [45009, 45033])
    async def test_error_codes_of_limits_are_waited_for(
        self, stage: Stage, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(WAITS, code, 0.2)
        _fake(stage).codes.append(code)
        assert (await stage.send("patience"))[0] == 200
        assert stage.fake.texts() == ["patience"]

    async def test_a_busy_system_is_tried_again(self, stage: Stage) -> None:
        _fake(stage).codes.append(-1)
        assert (await stage.send("again"))[0] == 200
        assert stage.fake.texts() == ["again"]

    async def test_an_address_that_is_not_trusted_is_said(self, stage: Stage) -> None:
        _fake(stage).codes.append(60020)
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "trusted" in answer["message"]

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

    async def test_the_number_of_the_application_is_needed_at_once(self, stage: Stage) -> None:
        """AstrBot learns it with the first message only, and cannot send before."""
        config = {"corpid": "a", "secret": "b", "agent_id": "x"}
        status, answer = await stage.call("POST", "/api/v1/bots", {"id": "o", "adapter": "wecom", "config": config})
        assert (status, answer["code"]) == (400, "invalid_config")

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        status, answer = await stage.call("POST", f"/api/v1/bots/{BOT}/test")
        assert (status, answer["data"]) == (200, {"id": "1000002", "name": "Palaver"})


class TestWeComReceiving(ReceivingSuite):
    fake_type = WeComFake
    has_groups = False

    @pytest.fixture(autouse=True)
    def door(self, stage: Stage) -> None:
        _fake(stage).door = f"{stage.server.base_url}/api/v1/im/webhooks/{BOT}"

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        """A file on WeCom has no text."""
        await stage.fake.receive("", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert [part["type"] for part in parts[0]] == ["file"]

    async def test_a_quoted_answer_is_known_as_our_message(self, stage: Stage) -> None:
        pytest.skip("WeCom does not tell what is quoted")

    async def test_the_console_gets_its_text_back(self, stage: Stage) -> None:
        assert await _fake(stage).report("12345", asks=True) == (200, "12345")

    async def test_callbacks_of_others_are_refused(self, stage: Stage) -> None:
        fake = _fake(stage)
        assert (await fake.report("<xml/>", token="another"))[0] == 401
        assert (await fake.report("12345", token="another", asks=True))[0] == 401
        assert (await fake.report("<xml/>", receiver="wwother"))[0] == 400
        bomb = '<!DOCTYPE a [<!ENTITY b "c">]><xml><MsgId>&b;</MsgId></xml>'
        assert (await fake.report(bomb))[0] == 400
        assert (await fake.report("<xml><MsgType>event</MsgType><FromUserName>x</FromUserName></xml>"))[0] == 200
        assert fake.seen() == []

    async def test_a_key_of_callbacks_is_checked(self, stage: Stage) -> None:
        patch = {"config": {"encoding_aes_key": "short"}}
        status, answer = await stage.call("PATCH", f"/api/v1/bots/{BOT}", patch)
        assert (status, answer["code"]) == (400, "invalid_config")


def _fake(stage: Stage) -> WeComFake:
    assert isinstance(stage.fake, WeComFake)
    return stage.fake
