"""What the service does when the world around a stored bot has changed, or is busy."""

import asyncio
from typing import Any

import pytest

from app.auth.models import Principal
from app.bots.adapters.base import AdapterFactory
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import DeliveryError
from app.bots.adapters.webhook import webhook_factory
from app.bots.outbox.worker import Outbox
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.bots.umo import parse_umo
from app.chat.parts import Text
from app.crypto import SecretBox
from app.errors import Unavailable
from app.idempotency import Idempotency
from tests.bots.conftest import Im, RecordingConfig
from tests.bots.fakes import RecordingAdapter
from tests.support.webhook_receiver import WebhookReceiver

SOMEONE = Principal("k", "k", frozenset())
WHERE = parse_umo("support-hook:FriendMessage:1")


def later_service(im: Im, *factories: AdapterFactory[Any], secrets: SecretBox | None = None) -> BotService:
    """The service as it is after a restart with other settings."""
    return BotService(im.database, secrets or im.server.core.secrets, factories=factories, builtin={})


def sender_of(im: Im, bots: BotService) -> MessageService:
    outbox = Outbox(im.database, bots, im.files, "later", sole_owner=True)
    return MessageService(im.database, bots, outbox, im.files, Idempotency(im.database))


async def test_a_bot_whose_address_is_no_longer_allowed_sends_nothing(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    service = later_service(im, webhook_factory(Network()))
    with pytest.raises(DeliveryError, match="The bot's settings can no longer be used"):
        await sender_of(im, service).send(WHERE, [Text("x")], SOMEONE)
    assert receiver.received == []


async def test_another_master_key_does_not_open_the_secrets(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    service = later_service(im, webhook_factory(Network(allow_private=True)), secrets=SecretBox(bytes(32)))
    with pytest.raises(Unavailable):
        await sender_of(im, service).send(WHERE, [Text("x")], SOMEONE)
    assert [bot.id for bot in await service.list_bots()] == ["support-hook"]


async def test_a_bot_of_a_kind_that_is_gone_does_not_run(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    service = later_service(im)
    assert await service.running_ids() == []
    await service.delete("support-hook")


async def test_a_change_by_another_process_takes_effect(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    await im.sender.send(WHERE, [Text("x")], SOMEONE)
    other = later_service(im, webhook_factory(Network(allow_private=True)))
    await other.update("support-hook", config={"url": receiver.url + "/new"})
    await im.sender.send(WHERE, [Text("x")], SOMEONE)
    assert [request.path for request in receiver.received] == ["/hook", "/hook/new"]
    await other.update("support-hook", enabled=False)
    await other.close()
    assert (await im.send(str(WHERE)))[0] == 404


async def test_senders_at_once_share_one_adapter(im: Im) -> None:
    adapters: list[RecordingAdapter] = []

    def build(_bot_id: str, _config: RecordingConfig) -> RecordingAdapter:
        adapters.append(RecordingAdapter())
        return adapters[-1]

    service = later_service(im, AdapterFactory("counted", RecordingConfig, build))
    await service.create(id="support-hook", adapter="counted", config={})
    adapters.clear()  # one was made to check the settings
    sender = sender_of(im, service)
    await asyncio.gather(*(sender.send(WHERE, [Text("x")], SOMEONE) for _ in range(10)))
    assert [len(adapter.sent) for adapter in adapters] == [10]
    await service.close()
    assert [adapter.times_closed for adapter in adapters] == [1]
