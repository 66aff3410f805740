"""Callbacks: a signed request to the sender's address when a delivery is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.bots.adapters.http import Network
from app.bots.adapters.signing import new_secret
from app.bots.callbacks import Callbacks
from app.bots.outbox.models import DeliveryRow
from app.clock import utc_now
from app.database.engine import Database
from tests.bots.conftest import QUICK, Im
from tests.bots.test_deliveries import settled
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.waiting import until
from tests.support.webhook_receiver import Received, WebhookReceiver, hangs_up, says, waits_for, webhook_receiver

pytestmark = pytest.mark.databases("sqlite", "postgresql")

WEBCHAT = "webchat:FriendMessage:s1"
PATH = "/api/v1/im/deliveries"


@pytest.fixture
async def ended() -> AsyncIterator[WebhookReceiver]:
    """The receiver of callbacks."""
    async with webhook_receiver() as receiver:
        receiver.secret = new_secret()
        yield receiver


async def send(im: Im, ended: WebhookReceiver, umo: str = WEBCHAT, **body: Any) -> tuple[int, Any]:
    callback = {"callback": ended.url, "callback_secret": ended.secret}
    return await im.call("POST", "/api/v1/im/message", {"umo": umo, "message": "hello", **callback, **body})


async def told(ended: WebhookReceiver, number: int = 1) -> list[Received]:
    """The callbacks, once so many have come."""
    await until(lambda: len(ended.received) >= number)
    return ended.received


async def test_the_end_of_a_delivery_is_told_signed_and_as_the_delivery_is_shown(
    im: Im, ended: WebhookReceiver
) -> None:
    status, answer = await send(im, ended)
    assert (status, answer["data"].get("callback_secret")) == (200, None)
    (request,) = await told(ended)
    delivery = await settled(im, answer["data"]["delivery_id"])
    assert request.verified
    assert request.payload == {"type": "delivery.sent", "timestamp": delivery["finished_at"], "data": delivery}


async def test_a_secret_is_made_when_the_sender_has_none_and_repeats_get_the_same(
    im: Im, ended: WebhookReceiver
) -> None:
    body = {"umo": WEBCHAT, "message": "hello", "callback": ended.url}
    answers = [
        await im.client.request("POST", "/api/v1/im/message", json=body, headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    ]
    secrets = {answer.json()["data"]["callback_secret"] for answer in answers}
    assert len(secrets) == 1
    await told(ended)
    ended.secret = secrets.pop()
    _, answer = await send(im, ended)
    await told(ended, 2)
    assert ended.received[-1].data["delivery_id"] == answer["data"]["delivery_id"]
    assert ended.received[-1].verified


async def test_every_end_is_told(im: Im, ended: WebhookReceiver, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    hook = "support-hook:FriendMessage:1"
    receiver.answers = [says({}, 400)]
    status, answer = await send(im, ended, hook)
    assert (status, answer["data"]["state"]) == (502, "dead")
    assert (await told(ended))[-1].payload["type"] == "delivery.dead"
    # Once more, when it ends once more.
    await im.call("POST", f"{PATH}/{answer['data']['delivery_id']}/retry")
    assert (await told(ended, 2))[-1].payload["type"] == "delivery.sent"
    gate = asyncio.Event()
    receiver.answers = [waits_for(gate)]
    receiver.arrived.clear()
    await send(im, ended, hook, delivery="queue")
    await receiver.arrived.wait()
    _, waiting = await send(im, ended, hook, delivery="queue")
    await im.call("POST", f"{PATH}/{waiting['data']['delivery_id']}/cancel")
    assert (await told(ended, 3))[-1].payload["type"] == "delivery.cancelled"
    gate.set()
    assert (await told(ended, 4))[-1].payload["type"] == "delivery.sent"
    ids = [request.headers["webhook-id"] for request in ended.received]
    assert len(set(ids)) == 4
    assert all(request.verified for request in ended.received)


async def test_a_callback_is_tried_again_with_the_same_id_until_it_is_taken(im: Im, ended: WebhookReceiver) -> None:
    ended.answers = [says({}, 503), hangs_up]
    await send(im, ended)
    requests = await told(ended, 3)
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({str(request.payload) for request in requests}) == 1
    await nothing_is_due(im.database)
    assert len(ended.received) == 3


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (302, 1), (500, 3)])
async def test_a_callback_that_is_refused_or_fails_for_long_is_given_up(
    im: Im, ended: WebhookReceiver, status: int, tries: int
) -> None:
    ended.answers = [says({}, status, {"Location": ended.url})] * 5
    await send(im, ended)
    await told(ended, tries)
    await nothing_is_due(im.database)
    assert len(ended.received) == tries


async def nothing_is_due(database: Database) -> None:
    """Wait until every callback has been sent or given up."""
    query = select(DeliveryRow.seq).where(DeliveryRow.callback_at.is_not(None))

    async def is_so() -> bool:
        return await database.read(lambda connection: connection.execute(query).first() is None)

    await until(is_so)


async def test_a_receiver_that_hangs_does_not_keep_others_from_being_told(im: Im, ended: WebhookReceiver) -> None:
    gate = asyncio.Event()
    async with webhook_receiver() as hanging:
        hanging.secret = ended.secret
        hanging.answers = [waits_for(gate)]
        await send(im, hanging)
        await hanging.arrived.wait()
        await send(im, ended)
        await told(ended)
        gate.set()


@asynccontextmanager
async def servers(im: Im, number: int) -> AsyncIterator[list[Callbacks]]:
    """The callbacks of other servers on the database."""
    made = [
        Callbacks(im.database, im.server.core.secrets, Network(allow_private=True), policy=QUICK) for _ in range(number)
    ]
    tasks = [asyncio.create_task(each.run()) for each in made]
    yield made
    for task, each in zip(tasks, made, strict=True):
        task.cancel()
        await each.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_callback_that_a_server_left_unsent_is_sent_by_one_other(im: Im, ended: WebhookReceiver) -> None:
    gate = asyncio.Event()
    ended.answers = [waits_for(gate)] * 5
    for _ in range(5):
        await send(im, ended)
    await told(ended, 5)
    # The server that was sending them has died: nobody renews its lease.
    past = utc_now() - timedelta(seconds=1)
    await im.database.write(
        lambda connection: connection.execute(
            update(DeliveryRow).where(DeliveryRow.callback_at.is_not(None)).values(callback_at=past)
        )
    )
    async with servers(im, 3) as others:
        for each in others:
            each.wake()
        await told(ended, 10)
        await nothing_is_due(im.database)
    ids = [request.headers["webhook-id"] for request in ended.received]
    assert sorted(ids[:5]) == sorted(ids[5:])
    gate.set()


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    "body",
    [
        {"callback": "ftp://example.com/"},
        {"callback": "https://user:word@example.com/"},
        {"callback": "https:///x"},
        {"callback": 7},
        {"callback": {"url": "https://example.com/"}},
        {"callback": "https://example.com/" + "x" * 3000},
        {"callback": "https://example.com/", "callback_secret": "short"},
        {"callback": "https://example.com/", "callback_secret": 7},
        {"callback_secret": "whsec_" + "A" * 44},
    ],
)
async def test_a_callback_that_cannot_be_is_refused_and_nothing_is_sent(im: Im, body: dict[str, Any]) -> None:
    status, answer = await im.call("POST", "/api/v1/im/message", {"umo": WEBCHAT, "message": "x", **body})
    assert (status, answer["code"]) == (400, "invalid_callback")
    assert "short" not in answer["message"]
    assert (await im.call("GET", PATH))[1]["data"]["deliveries"] == []


@pytest.mark.databases("sqlite")
async def test_private_addresses_are_not_called_unless_the_operator_allows_them(
    start_server: StartServer, ended: WebhookReceiver
) -> None:
    async with start_server() as server, Client(server, await server.new_key("im")) as client:

        async def post(callback: str) -> Any:
            body = {"umo": WEBCHAT, "message": "x", "callback": callback}
            return await client.request("POST", "/api/v1/im/message", json=body)

        assert (await post(ended.url)).json()["code"] == "invalid_callback"
        assert (await post(f"http://localhost:{ended.port}/")).status_code == 200
        await nothing_is_due(server.core.database)
    assert ended.received == []
