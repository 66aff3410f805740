"""The webhook adapter: what is sent, signed and retried, and what it says when it fails."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from app.bots.adapters.base import Adapter, Call, Fragment, Receipt, Target
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import DeliveryError
from app.bots.adapters.signing import new_secret
from app.bots.adapters.webhook import WebhookConfig, webhook_factory
from tests.bots.conftest import PNG, Im
from tests.support.webhook_receiver import WebhookReceiver, hangs_up, says, sends, starts_and_hangs_up, waits_for

WHERE = "support-hook:GroupMessage:room:7"
CALL = Call(Target("FriendMessage", "1"), Fragment({"type": "message.send"}), "m1")


def hook(receiver: WebhookReceiver, outcomes: list[str]) -> Adapter:
    factory = webhook_factory(Network(allow_private=True), count=outcomes.append)
    return factory.build("support-hook", WebhookConfig(receiver.url, new_secret()))


async def test_a_message_arrives_signed(im: Im, receiver: WebhookReceiver) -> None:
    attachment_id = await im.upload()
    await im.new_hook(receiver)
    parts = [
        {"type": "plain", "text": "héllo"},
        {"type": "image", "attachment_id": attachment_id, "filename": "photo.png"},
        {"type": "image", "attachment_id": attachment_id},
        {"type": "reply", "message_id": "p-3", "selected_text": "that"},
    ]
    status, answer = await im.send(WHERE, parts)
    assert (status, answer["data"]["message_id"], answer["data"]["umo"]) == (200, "m-1", WHERE)
    (request,) = receiver.received
    assert request.verified
    assert request.headers["content-type"] == "application/json"
    assert request.payload["type"] == "message.send"
    assert request.payload["timestamp"].endswith("+00:00")
    image = {
        "type": "image",
        "attachment_id": attachment_id,
        "media_type": "image/png",
        "size": len(PNG),
        "sha256": sha256(PNG).hexdigest(),
    }
    assert request.data == {
        "umo": WHERE,
        "platform_id": "support-hook",
        "message_type": "GroupMessage",
        "session_id": "room:7",
        "parts": [
            {"type": "plain", "text": "héllo"},
            {**image, "filename": "photo.png"},
            {**image, "filename": "cat.png"},
            {"type": "reply", "message_id": "p-3", "selected_text": "that"},
        ],
    }


async def test_a_message_signed_with_another_secret_does_not_verify(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.secret = new_secret()
    await im.send(WHERE)
    assert [request.verified for request in receiver.received] == [False]


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b'{"message_id": "abc"}', "abc"),
        (b'{"message_id": 17}', "17"),
        (b'{"message_id": true}', None),
        (b'{"message_id": ""}', None),
        (b'{"message_id": {}}', None),
        (b"[]", None),
        (b"ok", None),
        (b"\xff", None),
        (b"[" * 50_000, None),
        (b" " * 100_000 + b'{"message_id": "abc"}', None),
        (b"", None),
    ],
)
async def test_the_receivers_message_id_is_the_platforms(
    im: Im, receiver: WebhookReceiver, body: bytes, message_id: str | None
) -> None:
    await im.new_hook(receiver)
    receiver.answers = [sends(body)]
    status, answer = await im.send(WHERE)
    assert (status, answer["data"]["message_id"]) == (200, message_id)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_success_is_a_success(im: Im, receiver: WebhookReceiver, status: int) -> None:
    await im.new_hook(receiver)
    receiver.answers = [sends(b"", status)]
    assert (await im.send(WHERE))[0] == 200


async def test_tries_again_with_the_same_id_until_it_is_taken(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 500), hangs_up]
    status, answer = await im.send(WHERE)
    assert (status, answer["data"]["message_id"]) == (200, "m-1")
    assert [request.verified for request in receiver.received] == [True] * 3
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({str(request.payload) for request in receiver.received}) == 1


async def test_two_messages_have_two_ids(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    await im.send(WHERE)
    await im.send(WHERE)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_gives_up_after_three_tries(im: Im, receiver: WebhookReceiver, status: int) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({"error": "the receiver's own text"}, status)] * 5
    actual, answer = await im.send(WHERE)
    assert (actual, answer["code"]) == (502, "delivery_failed")
    assert answer["message"] == f"The webhook receiver answered {status}"
    assert len(receiver.received) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_does_not_try_again_what_is_refused(im: Im, receiver: WebhookReceiver, status: int) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, status)]
    actual, answer = await im.send(WHERE)
    assert (actual, answer["message"]) == (502, f"The webhook receiver answered {status}")
    assert len(receiver.received) == 1


async def test_waits_as_long_as_the_receiver_asks(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 429, {"Retry-After": "0.3"})]
    start = asyncio.get_running_loop().time()
    assert (await im.send(WHERE))[0] == 200
    assert asyncio.get_running_loop().time() - start >= 0.3


@pytest.mark.parametrize("header", ["3600", formatdate(4_000_000_000, usegmt=True)])
async def test_does_not_wait_longer_than_there_is_time(im: Im, receiver: WebhookReceiver, header: str) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 429, {"Retry-After": header})]
    assert (await im.send(WHERE))[0] == 502
    assert len(receiver.received) == 1


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-5", "", formatdate(0, usegmt=True)])
async def test_a_senseless_wait_does_no_harm(im: Im, receiver: WebhookReceiver, header: str) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 503, {"Retry-After": header})]
    assert (await im.send(WHERE))[0] == 200
    assert len(receiver.received) == 2


async def test_a_receiver_that_is_not_there_is_a_bad_gateway(im: Im, closed_port: int) -> None:
    bot = {"id": "support-hook", "adapter": "webhook", "config": {"url": f"http://127.0.0.1:{closed_port}/s3cret"}}
    await im.call("POST", "/api/v1/bots", bot)
    status, answer = await im.send(WHERE)
    assert (status, answer["code"]) == (502, "delivery_failed")
    assert answer["message"] == "The webhook receiver could not be reached"


async def test_a_receiver_that_does_not_answer_is_a_gateway_timeout(im: Im, receiver: WebhookReceiver) -> None:
    receiver.answers = [waits_for(asyncio.Event())] * 9
    im.sender.wait_seconds = 0.5
    await im.new_hook(receiver)
    status, answer = await im.send(WHERE)
    assert (status, answer["code"], answer["data"]["state"]) == (504, "delivery_timeout", "unknown")
    assert len(receiver.received) == 1


async def test_deliveries_are_counted_by_how_they_ended(receiver: WebhookReceiver) -> None:
    receiver.answers = [says({}, 500), says({}), says({}, 400)]
    outcomes: list[str] = []
    adapter = hook(receiver, outcomes)
    for call in (CALL, CALL, CALL):
        with suppress(DeliveryError):
            await adapter.deliver(call)
    assert outcomes == ["failed", "delivered", "failed"]
    await adapter.close()


async def test_a_taken_message_is_not_sent_again_when_the_answer_breaks_off(receiver: WebhookReceiver) -> None:
    receiver.answers = [starts_and_hangs_up]
    adapter = hook(receiver, [])
    assert await adapter.deliver(CALL) == Receipt(None)
    assert len(receiver.received) == 1
    await adapter.close()


async def test_a_message_under_way_is_still_sent_when_its_bot_changes(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    gate = asyncio.Event()
    receiver.answers = [waits_for(gate)]
    sending = asyncio.create_task(im.send(WHERE))
    await receiver.arrived.wait()
    await im.call("PATCH", "/api/v1/bots/support-hook", {"config": {"url": receiver.url + "/new"}})
    await im.send("support-hook:GroupMessage:another")
    gate.set()
    assert (await sending)[0] == 200
    assert [request.path for request in receiver.received] == ["/hook", "/hook/new"]


async def test_a_failed_delivery_leaves_neither_text_nor_secret_in_the_log(
    im: Im, receiver: WebhookReceiver, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 500), hangs_up, says({}, 400)]
    await im.send(WHERE, "the quick brown fox")
    out, err = capfd.readouterr()
    logged = out + err + caplog.text
    assert "delivery_try_failed" in logged
    assert "brown fox" not in logged
    assert receiver.secret is not None
    assert receiver.secret not in logged
    assert receiver.url not in logged


async def test_proxies_of_the_environment_are_not_used(
    im: Im, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    await im.new_hook(receiver)
    assert (await im.send(WHERE))[0] == 200


async def test_nothing_is_remembered_between_messages(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 200, {"Set-Cookie": "a=b; Path=/"})]
    await im.send(WHERE)
    await im.send(WHERE)
    assert "cookie" not in receiver.received[1].headers


def test_a_bots_settings_do_not_show_its_secret() -> None:
    secret = new_secret()
    text: Any = repr(WebhookConfig("https://a.example", secret))
    assert secret not in text


# The way in


async def push(im: Im, receiver: WebhookReceiver, data: Any, *, id: str = "in-1", secret: str | None = None) -> int:
    """Pass a message on to the bot, signed; the status."""
    body = msgspec.json.encode({"type": "message.receive", "data": data})
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret or receiver.secret or "").sign(id, now, body.decode()),
    }
    path = "/api/v1/im/webhooks/support-hook"
    response = await im.client.request("POST", path, content=body, headers=headers)
    return int(response.status_code)


MESSAGE = {"message_type": "FriendMessage", "session_id": "room:7", "sender": {"id": "alice"}, "text": "hello?"}


async def test_a_message_that_a_program_passes_on_is_answered_at_its_url(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    assert [await push(im, receiver, MESSAGE) for _ in range(3)] == [202] * 3
    async with asyncio.timeout(15):
        while not receiver.received:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    (request,) = receiver.received
    assert request.verified
    assert request.data["umo"] == "support-hook:FriendMessage:room:7"
    assert "hello?" in request.data["parts"][0]["text"]
    assert await im.creators() == {"im:support-hook:FriendMessage:room:7": "im!support-hook!alice"}


@pytest.mark.parametrize(
    "change",
    [{"sender": {}}, {"text": ""}, {"text": 5}, {"message_type": "Other"}, {"session_id": " "}, {"session_id": "a\nb"}],
)
async def test_what_is_no_message_is_refused_and_leaves_nothing(
    im: Im, receiver: WebhookReceiver, change: dict[str, Any]
) -> None:
    await im.new_hook(receiver)
    assert await push(im, receiver, {**MESSAGE, **change}) == 400
    assert await push(im, receiver, MESSAGE, secret=new_secret()) == 401
    assert await im.creators() == {}
