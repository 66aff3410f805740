"""LINE: the shared suite, and what is LINE's own."""

import pytest

from app.bots.formatting.splitting import measure
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import SendingSuite
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
