"""Slack: the shared suite, and what is Slack's own."""

from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import SendingSuite
from tests.support.platforms.base import Fault
from tests.support.platforms.slack import SlackFake


class TestSlack(SendingSuite):
    fake_type = SlackFake
    is_keyed = True  # lost messages are found in the history

    async def test_a_lost_answer_without_the_history_is_unknown(self, stage: Stage) -> None:
        assert isinstance(stage.fake, SlackFake)
        stage.fake.scopes.clear()
        stage.fake.script = [Fault("close_after")]
        status, answer = await stage.send("once")
        assert (status, answer["data"]["state"]) == (504, "unknown")
        assert stage.fake.texts() == ["once"]
        assert len(stage.fake.calls) == 1

    async def test_a_lost_answer_posts_once(self, stage: Stage) -> None:
        """openclaw 22780: Slack's SDK repeats by itself, and the message was there twice, 77 ms apart."""
        stage.fake.script = [Fault("server_error_after")]
        status, answer = await stage.send("once", group=True)
        assert status == 200, answer
        assert stage.fake.texts(stage.fake.group) == ["once"]
        assert answer["data"]["message_ids"] == [stage.fake.seen(stage.fake.group)[0].id]
        assert len(stage.fake.calls) == 1

    async def test_an_answer_200_that_is_not_ok_is_no_success(self, stage: Stage) -> None:
        status, answer = await stage.send("hello", "C0UNKNOWN", group=True)
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert (await stage.delivery(answer))["error_code"] == "delivery_failed:channel_not_found"

    async def test_a_thread_is_part_of_the_session(self, stage: Stage) -> None:
        assert (await stage.send("in it", f"{stage.fake.group}#1700000000.000001", group=True))[0] == 200
        assert [each.reply_to for each in stage.fake.seen(stage.fake.group)] == ["1700000000.000001"]

    async def test_a_quotation_is_a_thread_for_all_pieces(self, stage: Stage) -> None:
        quoted = "1700000000.000077"
        parts = [{"type": "reply", "message_id": quoted}, {"type": "plain", "text": "word " * 1500}]
        assert (await stage.send(parts))[0] == 200
        assert [message.reply_to for message in stage.fake.seen()] == [quoted, quoted]

    async def test_files_are_uploaded_without_the_token(self, stage: Stage) -> None:
        assert isinstance(stage.fake, SlackFake)
        id = await stage.upload("notes.txt", b"some notes")
        status, answer = await stage.send([{"type": "file", "attachment_id": id}])
        assert status == 200, answer
        assert stage.fake.tokens_uploaded == [None]
        assert [(each.filename, each.content) for each in stage.fake.seen()] == [("notes.txt", b"some notes")]

    async def test_an_upload_to_an_address_of_another_kind_is_refused(self, stage: Stage) -> None:
        assert isinstance(stage.fake, SlackFake)
        stage.fake.upload_host = "file://etc"
        id = await stage.upload("notes.txt", b"some notes")
        assert (await stage.send([{"type": "file", "attachment_id": id}]))[0] == 502
        assert stage.fake.seen() == []

    async def test_a_channel_in_astrbots_form_is_reached(self, stage: Stage) -> None:
        assert (await stage.send("hello", f"U0ALICE_{stage.fake.group}", group=True))[0] == 200
        assert stage.fake.texts(stage.fake.group) == ["hello"]

    async def test_signs_of_mrkdwn_in_a_text_are_shown_as_they_are(self, stage: Stage) -> None:
        assert (await stage.send("a < b & c > d, <!channel>"))[0] == 200
        assert stage.fake.texts() == ["a < b & c > d, <!channel>"]
        sent = stage.fake.calls[0][1]["text"]
        assert sent == "a &lt; b &amp; c &gt; d, &lt;!channel&gt;"  # nobody is notified

    async def test_who_the_bot_is(self, stage: Stage) -> None:
        async with stage.bots.use(BOT) as bot:
            assert (await bot.adapter.check()).name == "palaver"  # type: ignore[attr-defined]
