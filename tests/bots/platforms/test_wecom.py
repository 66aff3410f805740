"""WeCom's applications: the shared suite, and what is WeCom's own."""

import pytest

from app.bots.adapters.wecom import WAITS
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import SendingSuite
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


def _fake(stage: Stage) -> WeComFake:
    assert isinstance(stage.fake, WeComFake)
    return stage.fake
