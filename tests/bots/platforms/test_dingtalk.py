"""DingTalk: the shared suite, and what is DingTalk's own."""

import pytest

from tests.bots.platforms.conftest import Stage
from tests.bots.platforms.suite import SendingSuite
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


def _fake(stage: Stage) -> DingTalkFake:
    assert isinstance(stage.fake, DingTalkFake)
    return stage.fake
