"""LINE: the shared suite, and what is LINE's own."""

import pytest

from app.bots.formatting.splitting import measure
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import ReceivingSuite, SendingSuite
from tests.support.platforms.base import Fault
from tests.support.platforms.line import LineFake, refuse


class TestLine(SendingSuite):
    fake_type = LineFake
    is_keyed = True

    async def test_a_long_text_is_split_within_the_limit_and_loses_nothing(self, stage: Stage) -> None:
        """AstrBot drops the sixth message, and cuts at 5000."""
        words = " ".join(f"wörd{n}😀" for n in range(5000))
        status, answer = await stage.send(words)
        assert status == 200, answer
        texts = stage.fake.texts()
        assert len(texts) > 5
        assert all(measure(text, "utf16") <= 5000 for text in texts)
        assert " ".join(texts).split() == words.split()
        assert len(stage.fake.calls) == -(-len(texts) // 5)  # five messages of one push count as one

    async def test_exactly_once_by_the_retry_key(self, stage: Stage) -> None:
        """openclaw #124517: a push that LINE has accepted already is answered with 409, and is sent."""
        stage.fake.script = [Fault("server_error_after"), Fault("close_before"), None]
        status, answer = await stage.send("once")
        assert (status, answer["data"]["state"]) == (200, "sent")
        assert answer["data"]["message_id"] == stage.fake.seen()[0].id
        assert stage.fake.texts() == ["once"]
        assert len(stage.fake.calls) == 3

    async def test_a_monthly_limit_is_not_waited_for(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stage.fake, "_problem", lambda _r: refuse(429, "You have reached your monthly limit."))
        status, answer = await stage.send("too much")
        assert (status, answer["data"]["state"]) == (502, "dead")
        assert "monthly limit" in answer["message"]
        assert len(stage.fake.calls) == 1

    @pytest.mark.parametrize("kind", ["image", "file", "record", "video"])
    async def test_files_are_refused_before_anything_is_sent(self, stage: Stage, kind: str) -> None:
        """AstrBot sends a `file` type that LINE does not have."""
        id = await stage.upload()
        parts = [{"type": "plain", "text": "look"}, {"type": kind, "attachment_id": id}]
        status, answer = await stage.send(parts)
        assert (status, answer["code"]) == (400, "part_not_supported")
        assert stage.fake.seen() == []

    async def test_a_groups_id_is_not_a_users(self, stage: Stage) -> None:
        assert (await stage.send("x", stage.fake.group))[1]["code"] == "invalid_umo"
        assert (await stage.send("x", stage.fake.session, group=True))[1]["code"] == "invalid_umo"
        assert (await stage.send("x", "R" + "1" * 32, group=True))[0] == 200

    async def test_markdown_becomes_plain_text(self, stage: Stage) -> None:
        await stage.send("**bold** and [a link](https://example.com)")
        assert stage.fake.texts() == ["bold and a link (https://example.com)"]

    async def test_the_channel_is_checked(self, stage: Stage) -> None:
        async with stage.bots.use(BOT) as bot:
            identity = await bot.adapter.check()  # type: ignore[attr-defined]
        assert (identity.name, identity.mentions) == ("Palaver", ("@palaver",))


class TestLineReceiving(ReceivingSuite):
    fake_type = LineFake

    @pytest.fixture(autouse=True)
    def door(self, stage: Stage) -> None:
        _fake(stage).door = f"{stage.server.base_url}/api/v1/im/webhooks/{BOT}"

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        """A file on LINE has no text."""
        _fake(stage).transcoding = 1
        await stage.fake.receive("", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert [part["type"] for part in parts[0]] == ["file"]

    async def test_an_answer_costs_nothing_while_the_token_is_good(self, stage: Stage) -> None:
        await stage.fake.receive("hello")
        await stage.fake.until(lambda: stage.fake.texts() == ["hello"])
        assert [method for method, _ in stage.fake.calls] == ["reply"]

    async def test_an_answer_is_pushed_when_the_token_has_expired(self, stage: Stage) -> None:
        _fake(stage).token_seconds = 0.0
        await stage.fake.receive("hello")
        await stage.fake.until(lambda: stage.fake.texts() == ["hello"])
        assert [method for method, _ in stage.fake.calls] == ["reply", "push"]

    @pytest.mark.parametrize("kind", ["close_after", "close_before", "server_error_after"])
    async def test_an_answer_whose_reply_was_lost_is_seen_once(self, stage: Stage, kind: str) -> None:
        stage.fake.script = [Fault(kind)]  # type: ignore[arg-type]
        await stage.fake.receive("hello")
        await stage.fake.until(lambda: len(stage.fake.calls) == 2)
        await stage.fake.receive("more")
        await stage.fake.until(lambda: stage.fake.texts() == ["hello", "more"])
        assert [method for method, _ in stage.fake.calls] == ["reply", "reply", "reply"]

    async def test_a_wrong_signature_is_refused(self, stage: Stage) -> None:
        fake = _fake(stage)
        assert await fake.report([], "bm8=") == 401
        assert await fake.report([], "") == 401
        assert await fake.report([]) == 200  # how the console verifies the URL

    async def test_the_webhook_has_astrbots_address_too(self, stage: Stage) -> None:
        config = {"webhook_uuid": "0a1b2c"}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        _fake(stage).door = f"{stage.server.base_url}/api/platform/webhook/0a1b2c"
        await stage.fake.receive("hello")
        await stage.fake.until(lambda: stage.fake.texts() == ["hello"])


def _fake(stage: Stage) -> LineFake:
    assert isinstance(stage.fake, LineFake)
    return stage.fake
