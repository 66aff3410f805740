"""What every adapter is held to, given the stand-in of its platform.

A platform's test module derives a class from `SendingSuite` and names its stand-in:

    class TestTelegram(SendingSuite):
        fake_type = TelegramFake
"""

from typing import ClassVar

import pytest

from app.bots.formatting.splitting import measure
from tests.bots.platforms.conftest import BOT, PNG, Stage
from tests.support.platforms.base import FakePlatform, Fault

MARKDOWN = (
    "# Title\n\nSome **bold** and *italic* text, `code`, a [link](https://example.com/a?b=1&c=2).\n\n- one\n- two"
)


class SendingSuite:
    """The tests of sending. `is_keyed` says that the platform shows a repeated wire key once."""

    fake_type: ClassVar[type[FakePlatform]]
    is_keyed: ClassVar[bool] = False

    async def test_a_message_is_delivered(self, stage: Stage) -> None:
        status, answer = await stage.send("hello")
        assert status == 200, answer
        assert [message.text for message in stage.fake.seen()] == ["hello"]
        assert answer["data"]["state"] == "sent"
        ids = [message.id for message in stage.fake.seen()]
        assert answer["data"]["message_ids"] in (ids, [])
        delivery = await stage.delivery(answer)
        assert (delivery["state"], delivery["umo"], delivery["origin"]) == ("sent", stage.umo(), "api")

    async def test_a_group_is_reached(self, stage: Stage) -> None:
        status, answer = await stage.send("hello all", group=True)
        assert status == 200, answer
        assert stage.fake.texts(stage.fake.group) == ["hello all"]

    async def test_a_queued_message_is_delivered_in_its_order(self, stage: Stage) -> None:
        answers = [await stage.send(f"number {n}", delivery="queue") for n in range(5)]
        assert [status for status, _ in answers] == [202] * 5
        assert (await stage.send("last"))[0] == 200
        assert stage.fake.texts() == [*(f"number {n}" for n in range(5)), "last"]

    async def test_a_long_text_is_split_within_the_limit_and_loses_nothing(self, stage: Stage) -> None:
        fake = stage.fake
        words = " ".join(f"wörd{n}😀" for n in range(2 * fake.limit // 8))
        status, answer = await stage.send(words)
        assert status == 200, answer
        texts = fake.texts()
        assert len(texts) > 1
        assert all(measure(text, fake.unit) <= fake.limit for text in texts)
        assert " ".join(texts).split() == words.split()
        assert [each["state"] for each in (await stage.delivery(answer))["fragments"]] == ["sent"] * len(texts)

    async def test_markdown_is_shown_without_its_marks_or_as_the_platform_shows_it(self, stage: Stage) -> None:
        status, answer = await stage.send(MARKDOWN)
        assert status == 200, answer
        text = "\n".join(stage.fake.texts())
        for word in ("Title", "bold", "italic", "code", "link", "one", "two"):
            assert word in text

    async def test_media_arrive_with_their_bytes(self, stage: Stage) -> None:
        if not stage.fake.takes_media:
            pytest.skip("the platform takes no media")
        id = await stage.upload()
        parts = [{"type": "plain", "text": "look"}, {"type": "image", "attachment_id": id}]
        status, answer = await stage.send(parts)
        assert status == 200, answer
        images = [message for message in stage.fake.seen() if message.kind == "image"]
        assert [image.content for image in images] == [PNG]
        assert any("look" in message.text for message in stage.fake.seen())

    async def test_a_rate_limit_is_waited_for(self, stage: Stage) -> None:
        self._script(stage, Fault("rate_limited", after=0.3))
        status, answer = await stage.send("patience")
        assert status == 200, answer
        assert stage.fake.texts() == ["patience"]
        assert len(stage.fake.calls) == 2

    async def test_a_rate_limit_that_lasts_too_long_is_a_bad_gateway(self, stage: Stage) -> None:
        self._script(stage, Fault("rate_limited", after=600))
        status, answer = await stage.send("patience")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert stage.fake.texts() == []
        # The chat rests, also for the next message; others do not.
        assert (await stage.send("again"))[0] == 502
        assert len(stage.fake.calls) == 1

    async def test_a_refusal_is_final_and_said(self, stage: Stage) -> None:
        self._script(stage, Fault("refused"))
        status, answer = await stage.send("no")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert len(stage.fake.calls) == 1
        assert (await stage.delivery(answer))["error_code"].startswith("delivery_failed")
        assert (await stage.send("yes"))[0] == 200
        assert stage.fake.texts() == ["yes"]

    async def test_a_chat_that_is_gone_takes_nothing_more_until_somebody_retries(self, stage: Stage) -> None:
        self._script(stage, Fault("gone"))
        status, first = await stage.send("hello?")
        assert (status, first["code"]) == (502, "delivery_failed")
        assert (await stage.send("still there?"))[0] == 502
        assert len(stage.fake.calls) == 1
        assert (await stage.send("others are", group=True))[0] == 200
        status, _ = await stage.call("POST", f"/api/v1/im/deliveries/{first['data']['delivery_id']}/retry")
        assert status == 202
        assert (await stage.send("back"))[0] == 200
        assert stage.fake.texts() == ["hello?", "back"]

    async def test_a_refused_token_stops_the_bot_until_it_is_changed(self, stage: Stage) -> None:
        self._script(stage, Fault("unauthorized"), Fault("unauthorized"))  # a fresh token is tried, where there is one
        status, answer = await stage.send("let me in")
        assert (status, answer["code"]) == (502, "delivery_failed")
        stage.fake.script.clear()
        calls = len(stage.fake.calls)
        assert (await stage.send("again"))[0] == 502
        assert (await stage.send("again", group=True))[0] == 502
        assert len(stage.fake.calls) == calls
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": stage.fake.config()}))[0] == 200
        assert (await stage.send("now"))[0] == 200
        assert stage.fake.texts() == ["now"]

    async def test_a_platform_that_is_not_there_is_tried_again(self, stage: Stage) -> None:
        config = {**stage.fake.config(), "api_base_url": "http://127.0.0.1:9"}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        status, answer = await stage.send("anybody?")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert "could not be reached" in answer["message"]
        assert stage.fake.calls == []

    @pytest.mark.parametrize("wait_seconds", [1.5])
    async def test_a_message_whose_answer_never_comes_is_seen_once(self, stage: Stage) -> None:
        self._script(stage, *[Fault("hang_after")] * 9)
        status, answer = await stage.send("once")
        assert (status, answer["code"], answer["data"]["state"]) == (504, "delivery_timeout", "unknown")
        assert stage.fake.texts() == ["once"]

    @pytest.mark.parametrize("kind", ["close_after", "server_error_after"])
    async def test_a_message_whose_answer_is_lost_is_seen_once(self, stage: Stage, kind: str) -> None:
        self._script(stage, Fault(kind))  # type: ignore[arg-type]
        status, answer = await stage.send("once")
        if self.is_keyed:
            assert status == 200, answer
        else:
            assert (status, answer["data"]["state"]) == (504, "unknown")
            assert len(stage.fake.calls) == 1
        assert stage.fake.texts() == ["once"]
        assert (await stage.send("next"))[0] == 200
        assert stage.fake.texts() == ["once", "next"]

    @pytest.mark.parametrize("kind", ["close_before", "server_error"])
    async def test_a_message_that_may_have_arrived_is_seen_at_most_once(self, stage: Stage, kind: str) -> None:
        self._script(stage, Fault(kind))  # type: ignore[arg-type]
        status, answer = await stage.send("maybe")
        assert status in (200, 504), answer
        assert stage.fake.texts() in ([], ["maybe"])
        assert (status == 200) == (stage.fake.texts() == ["maybe"])

    async def test_a_refused_format_is_sent_as_plain_text_once(self, stage: Stage) -> None:
        self._script(stage, Fault("bad_format"))
        status, answer = await stage.send("some **bold** text")
        assert status == 200, answer
        assert len(stage.fake.texts()) == 1
        assert "bold" in stage.fake.texts()[0]

    async def test_a_session_that_the_platform_cannot_have_is_refused(self, stage: Stage) -> None:
        if (session := stage.fake.bad_session) is None:
            pytest.skip("every session is possible")
        status, answer = await stage.send("x", session)
        assert (status, answer["code"]) == (400, "invalid_umo")
        assert stage.fake.calls == []

    async def test_secrets_are_neither_shown_nor_logged(
        self, stage: Stage, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        self._script(stage, Fault("close_after"), Fault("refused"))
        await stage.send("the quick brown fox")
        await stage.send("the quick brown fox")
        _, shown = await stage.call("GET", f"/api/v1/bots/{BOT}")
        out, err = capfd.readouterr()
        logged = out + err + caplog.text
        assert "brown fox" not in logged
        for name, value in stage.fake.config().items():
            if name not in shown["data"]["config"] and isinstance(value, str):
                assert value not in logged + str(shown)

    def _script(self, stage: Stage, *faults: Fault) -> None:
        known = stage.fake.faults_known
        for fault in faults:
            if known and fault.kind not in known:
                pytest.skip(f"the platform has no {fault.kind}")
        stage.fake.script = list(faults)
