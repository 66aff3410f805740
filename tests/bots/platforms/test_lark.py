"""Lark and Feishu: the shared suite, and what is Lark's own."""

from typing import ClassVar

import msgspec
import pytest

from app.bots.adapters.lark_events import Frame, decode, encode
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import LiveSuite, ReceivingSuite, SendingSuite
from tests.support.platforms.base import Fault, Seen
from tests.support.platforms.lark import ENCRYPT_KEY, VERIFICATION, LarkFake, refuse

OGG = b"OggS\x00\x02" + bytes(20)


class TestLark(SendingSuite):
    fake_type = LarkFake
    is_keyed = True

    async def test_signs_that_are_escaped_in_json_count_as_long_as_they_are_written(self, stage: Stage) -> None:
        text = '"quoted" \\ text ' * 2500
        status, answer = await stage.send(text)
        assert status == 200, answer
        assert " ".join(stage.fake.texts()).split() == text.split()

    async def test_the_receiver_is_named_by_the_kind_of_its_id(self, stage: Stage) -> None:
        for session in ("on_5", "someone@example.com", "e1a2b3c4"):
            assert (await stage.send("hello", session))[0] == 200
            assert stage.fake.texts(session) == ["hello"]
        assert (await stage.send("hello", "ou_9%oc_7", group=True))[0] == 200
        assert stage.fake.texts("oc_7") == ["hello"]
        status, answer = await stage.send("hello", "e1a2b3c4", group=True)
        assert (status, answer["code"]) == (400, "invalid_umo")

    async def test_a_token_that_has_expired_is_replaced_once(self, stage: Stage) -> None:
        fake = _fake(stage)
        assert (await stage.send("one"))[0] == 200
        fake.expired.update(fake.tokens)
        assert (await stage.send("two"))[0] == 200
        assert fake.texts() == ["one", "two"]
        assert len(fake.tokens) == 2

    async def test_a_token_that_expires_before_an_upload_costs_nothing_but_a_try(self, stage: Stage) -> None:
        fake = _fake(stage)
        assert (await stage.send("one"))[0] == 200
        fake.expired.update(fake.tokens)
        id = await stage.upload()
        assert (await stage.send([{"type": "image", "attachment_id": id}]))[0] == 200
        assert [message.kind for message in fake.seen()] == ["text", "image"]

    async def test_a_wrong_secret_is_said(self, stage: Stage) -> None:
        config = {**stage.fake.config(), "app_secret": "wrong"}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "credentials" in answer["message"]

    async def test_230020_is_a_rate_limit_and_not_a_revoked_chat(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The official SDK files it under revoked targets."""
        answers = [refuse(230020, "This operation triggers the frequency limit.")]
        monkeypatch.setattr(stage.fake, "_problem", lambda _request: answers.pop() if answers else None)
        status, answer = await stage.send("patience")
        assert status == 200, answer
        assert stage.fake.texts() == ["patience"]

    async def test_a_quotation_is_a_reply_in_its_own_chat_only(self, stage: Stage) -> None:
        """nanobot: a message id of another chat made Lark answer there."""
        here = Seen("ou_42", "om_here", "question", extra={"sender": "ou_42"})
        other = Seen("oc_7", "om_other", "question", extra={"sender": "ou_3"})
        stage.fake.messages += [here, other]
        for id in ("om_here", "om_other", "om_gone", "77"):
            parts = [{"type": "reply", "message_id": id}, {"type": "plain", "text": f"re {id}"}]
            assert (await stage.send(parts))[0] == 200
        assert [(each.text, each.reply_to) for each in stage.fake.seen()[1:]] == [
            ("re om_here", "om_here"),
            ("re om_other", None),
            ("re om_gone", None),
            ("re 77", None),
        ]
        assert stage.fake.texts("oc_7") == ["question"]

    async def test_nobody_is_mentioned_by_what_a_model_writes(self, stage: Stage) -> None:
        stage.fake.script = [None, Fault("bad_format")]
        for _ in range(2):
            assert (await stage.send('hi <at user_id="all">everyone</at>'))[0] == 200
        assert not any("<at" in text for text in stage.fake.texts())

    async def test_tables_and_headings_become_what_a_post_can_show(self, stage: Stage) -> None:
        """nanobot #584: 230099 / 11310, too many tables in a card."""
        table = "| a | b |\n|---|---|\n| 1 | 2 |"
        assert (await stage.send("## Head\n\n" + "\n\n".join([table] * 9)))[0] == 200
        text = stage.fake.texts()[0]
        assert text.startswith("**Head**\n\n```\na  b\n")
        assert "|" not in text

    async def test_feishu_without_retries_and_429(self, stage: Stage) -> None:
        """openclaw #127028: Feishu send without retry or 429 handling."""
        stage.fake.script = [Fault("rate_limited", 0.1), Fault("close_after"), Fault("rate_limited", 0.1)]
        assert (await stage.send("at last"))[0] == 200
        assert stage.fake.texts() == ["at last"]

    MEDIA: ClassVar = [
        ("voice.ogg", OGG + b"\x01\x13OpusHead" + bytes(20), "record", "audio"),
        ("song.ogg", OGG + b"\x01\x1e\x01vorbis" + bytes(20), "record", "file"),
        ("a.txt", b"text", "file", "file"),
    ]

    @pytest.mark.parametrize(("name", "content", "kind", "shown"), MEDIA, ids=["opus", "vorbis", "text"])
    async def test_files_are_of_the_type_that_lark_shows(
        self, stage: Stage, name: str, content: bytes, kind: str, shown: str
    ) -> None:
        id = await stage.upload(name, content)
        status, answer = await stage.send([{"type": kind, "attachment_id": id}])
        assert status == 200, answer
        message = stage.fake.seen()[0]
        assert (message.extra["type"], message.filename, message.content) == (shown, name, content)

    async def test_content_is_json_in_json(self, stage: Stage) -> None:
        await stage.send("x")
        content = msgspec.json.decode(stage.fake.calls[0][1]["content"])
        assert content == {"zh_cn": {"content": [[{"tag": "md", "text": "x"}]]}}

    @pytest.mark.parametrize("domain", ["feishu", "lark", "https://open.feishu.cn"])
    async def test_astrbots_settings_are_understood(self, stage: Stage, domain: str) -> None:
        config = {
            "app_id": "a",
            "app_secret": "b",
            "domain": domain,
            "lark_connection_mode": "webhook",
            "lark_encrypt_key": "c",
            "lark_verification_token": "d",
            "webhook_uuid": "e",
        }
        status, answer = await stage.call("POST", "/api/v1/bots", {"id": "other", "adapter": "lark", "config": config})
        assert status == 201, answer
        assert set(answer["data"]["config"]) & {"app_secret", "lark_encrypt_key", "lark_verification_token"} == set()


class TestLarkReceiving(ReceivingSuite):
    fake_type = LarkFake

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        """Text and files come together in posts only, and there as images."""
        await stage.fake.receive("read this", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert parts[0][0]["type"] == "plain"
        assert parts[0][1]["attachment_id"]

    async def test_an_event_in_pieces_is_joined_and_acknowledged_once(self, stage: Stage) -> None:
        fake = _fake(stage)
        fake.pieces = 3
        await fake.receive("in pieces")
        await fake.until(lambda: fake.texts() == ["in pieces"])
        assert len(fake.acknowledged) == 1

    async def test_events_that_are_reported_after_a_reconnect_are_not_answered_again(self, stage: Stage) -> None:
        """CodePilot #649: yesterday's messages were answered after a reconnect."""
        fake = _fake(stage)
        await fake.receive("first")
        await fake.until(lambda: fake.texts() == ["first"])
        await fake.sockets[0].close()
        await fake.until(lambda: not fake.sockets)
        await fake.receive("yesterday", age_seconds=86_400)
        await fake.receive("second")
        await fake.until(lambda: fake.texts() == ["first", "second"])

    @pytest.mark.parametrize("key", [None, ENCRYPT_KEY])
    async def test_the_webhook_is_verified(self, stage: Stage, key: str | None) -> None:
        """AstrBot skips the signature when its headers are absent."""
        fake = _fake(stage)
        config = {"lark_connection_mode": "webhook", "lark_encrypt_key": key, "lark_verification_token": VERIFICATION}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        url = f"{stage.server.base_url}/api/v1/im/webhooks/{BOT}"
        question = {"type": "url_verification", "token": VERIFICATION, "challenge": "c"}
        assert await fake.post(url, question, key) == (200, b'{"challenge":"c"}')
        event = fake.event_of("hello")
        for _ in range(2):
            assert (await fake.post(url, event, key))[0] == 200
        await fake.until(lambda: fake.texts() == ["hello"])
        forged = {**event, "header": {**event["header"], "token": "wrong"}}
        assert (await fake.post(url, forged, key))[0] == 401
        if key is not None:
            assert (await fake.post(url, event, key, **{"X-Lark-Signature": ""}))[0] == 401
            assert (await fake.post(url, event, None))[0] == 401
            assert (await fake.post(url, event, "another key"))[0] == 401

    async def test_a_webhook_without_a_key_and_a_token_takes_nothing(self, stage: Stage) -> None:
        fake = _fake(stage)
        url = f"{stage.server.base_url}/api/v1/im/webhooks/{BOT}"
        assert (await fake.post(url, fake.event_of("hello"), None))[0] == 401


class TestLarkLive(LiveSuite):
    fake_type = LarkFake


def test_frames_are_protobuf() -> None:
    frame = Frame(seq=300, service=33, method=1, headers={"type": "event"}, payload=b"{}")
    data = encode(frame)
    assert data == b"\x08\xac\x02\x10\x00\x18\x21\x20\x01\x2a\x0d\x0a\x04type\x12\x05event\x42\x02{}"
    assert decode(data) == frame
    for broken in (b"\x08", b"\x42\x05{}", b"\x0d\x00\x00\x00\x00", b"\xff" * 12):
        with pytest.raises(ValueError, match="cannot be read"):
            decode(broken)


def _fake(stage: Stage) -> LarkFake:
    assert isinstance(stage.fake, LarkFake)
    return stage.fake
