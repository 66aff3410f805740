"""`/api/v1/im/deliveries`: what became of messages, and repeats of requests."""

import asyncio
from typing import Any

import pytest

from tests.bots.conftest import Im
from tests.support.webhook_receiver import WebhookReceiver, hangs_up, says, waits_for

HOOK = "support-hook:FriendMessage:1"
PATH = "/api/v1/im/deliveries"


async def post(im: Im, body: dict[str, Any], key: str | None = None, path: str = "/api/v1/im/message") -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    response = await im.client.request("POST", path, json=body, headers=headers)
    return response.status_code, response.json()


async def settled(im: Im, delivery_id: str) -> dict[str, Any]:
    """The delivery, once it is over."""
    async with asyncio.timeout(10):
        while True:
            _, answer = await im.call("GET", f"{PATH}/{delivery_id}")
            if answer["data"]["state"] not in ("queued", "sending"):
                data: dict[str, Any] = answer["data"]
                return data
            await asyncio.sleep(0.02)


async def test_a_message_can_be_queued(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    status, answer = await post(im, {"umo": HOOK, "message": "later", "delivery": "queue"})
    assert (status, answer["data"]["state"], answer["data"]["message_id"]) == (202, "queued", None)
    delivery = await settled(im, answer["data"]["delivery_id"])
    assert (delivery["state"], delivery["umo"], delivery["origin"], delivery["attempts"]) == ("sent", HOOK, "api", 1)
    assert delivery["fragments"] == [{"no": 0, "state": "sent", "platform_id": "m-1", "error": None}]
    assert delivery["finished_at"] is not None


async def test_the_other_path_is_the_same(im: Im) -> None:
    status, answer = await post(im, {"umo": "webchat:FriendMessage:s1", "message": "x"}, path="/api/v1/im/messages")
    assert (status, answer["data"]["message_ids"]) == (200, ["1"])


async def test_deliveries_are_listed_by_bot_chat_and_state(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    for number in range(3):
        await im.send(f"support-hook:FriendMessage:{number}", "x")
    await im.send("webchat:FriendMessage:s1")
    receiver.answers = [says({}, 400)]
    await im.send(HOOK)

    async def listed(**params: Any) -> list[tuple[str, str]]:
        response = await im.client.get(PATH, **params)
        assert response.status_code == 200, response.text
        return [(each["umo"], each["state"]) for each in response.json()["data"]["deliveries"]]

    assert [umo for umo, _ in await listed()] == [
        HOOK,
        "webchat:FriendMessage:s1",
        *(f"support-hook:FriendMessage:{number}" for number in (2, 1, 0)),
    ]
    assert len(await listed(bot_id="support-hook")) == 4
    assert await listed(umo=HOOK) == [(HOOK, "dead"), (HOOK, "sent")]
    assert await listed(state="dead") == [(HOOK, "dead")]
    assert await listed(bot_id="nobody") == []
    first = (await im.client.get(PATH, limit=3)).json()["data"]
    second = (await im.client.get(PATH, limit=3, cursor=first["next_cursor"])).json()["data"]
    assert (len(first["deliveries"]), len(second["deliveries"]), second["next_cursor"]) == (3, 2, None)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "101"}, "invalid_limit"),
        ({"limit": "x"}, "invalid_limit"),
        ({"cursor": "-1"}, "invalid_cursor"),
        ({"state": "lost"}, "invalid_state"),
        ({"umo": "webchat"}, "invalid_umo"),
    ],
)
async def test_a_listing_that_makes_no_sense_is_refused(im: Im, query: dict[str, str], code: str) -> None:
    response = await im.client.get(PATH, **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("delivery", ["soon", 7, None, ""])
async def test_an_unknown_kind_of_delivery_is_refused_and_leaves_nothing(im: Im, delivery: Any) -> None:
    status, answer = await post(im, {"umo": "webchat:FriendMessage:s1", "message": "x", "delivery": delivery})
    assert (status, answer["code"]) == (400, "invalid_delivery")
    assert (await im.call("GET", PATH))[1]["data"]["deliveries"] == []


async def test_a_dead_delivery_is_tried_again_when_somebody_asks(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 400)]
    status, answer = await im.send(HOOK)
    assert (status, answer["data"]["state"]) == (502, "dead")
    delivery_id = answer["data"]["delivery_id"]
    assert (await settled(im, delivery_id))["error"] == "The webhook receiver answered 400"
    status, answer = await im.call("POST", f"{PATH}/{delivery_id}/retry")
    assert (status, answer["data"]["state"]) == (202, "queued")
    assert (await settled(im, delivery_id))["state"] == "sent"
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    status, answer = await im.call("POST", f"{PATH}/{delivery_id}/retry")
    assert (status, answer["code"]) == (409, "delivery_not_over")


async def test_a_queued_delivery_can_be_cancelled_and_one_under_way_cannot(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    gate = asyncio.Event()
    receiver.answers = [waits_for(gate)]
    _, first = await post(im, {"umo": HOOK, "message": "first", "delivery": "queue"})
    _, second = await post(im, {"umo": HOOK, "message": "second", "delivery": "queue"})
    await receiver.arrived.wait()
    status, answer = await im.call("POST", f"{PATH}/{first['data']['delivery_id']}/cancel")
    assert (status, answer["code"]) == (409, "delivery_not_queued")
    status, answer = await im.call("POST", f"{PATH}/{second['data']['delivery_id']}/cancel")
    assert (status, answer["data"]["state"]) == (200, "cancelled")
    gate.set()
    assert (await settled(im, first["data"]["delivery_id"]))["state"] == "sent"
    assert len(receiver.received) == 1


async def test_what_does_not_exist_is_not_found(im: Im) -> None:
    for delivery_id in ("unknown", "a%00b", "x" * 300):
        for method, action in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
            status, answer = await im.call(method, f"{PATH}/{delivery_id}{action}")
            assert (status, answer["code"]) == (404, "delivery_not_found")


async def test_keys_that_are_bound_or_lack_the_scope_see_no_deliveries(im: Im) -> None:
    _, answer = await im.send("webchat:FriendMessage:s1")
    delivery_id = answer["data"]["delivery_id"]
    bound = await im.server.new_key("im", username="alice")
    other = await im.server.new_key("chat", "file", "config", "admin")
    for key, code in ((bound, "username_not_allowed"), (other, "insufficient_scope")):
        for method, path in (
            ("GET", PATH),
            ("GET", f"{PATH}/{delivery_id}"),
            ("POST", f"{PATH}/{delivery_id}/retry"),
            ("POST", f"{PATH}/{delivery_id}/cancel"),
        ):
            status, answer = await im.call(method, path, key=key)
            assert (status, answer["code"]) == (403, code)


async def test_a_request_that_was_wrong_leaves_no_delivery(im: Im) -> None:
    await im.send("webchat:FriendMessage:webchat!bob!s1", "first")
    assert (await im.send("webchat:FriendMessage:webchat!alice!s1"))[0] == 403
    assert len((await im.call("GET", PATH))[1]["data"]["deliveries"]) == 1


# Repeats


async def test_a_repeat_is_the_same_delivery(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    body = {"umo": HOOK, "message": "once"}
    answers = [await post(im, body, "k1") for _ in range(3)]
    assert [status for status, _ in answers] == [200] * 3
    assert len({answer["data"]["delivery_id"] for _, answer in answers}) == 1
    assert len(receiver.received) == 1
    status, answer = await post(im, {**body, "message": "another"}, "k1")
    assert (status, answer["code"]) == (422, "idempotency_key_reused")


async def test_repeats_at_once_are_one_delivery(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    answers = await asyncio.gather(*(post(im, {"umo": HOOK, "message": "once"}, "k1") for _ in range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert len({answer["data"]["delivery_id"] for _, answer in answers}) == 1
    assert len(receiver.received) == 1


async def test_a_repeat_goes_on_with_a_delivery_that_failed(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    receiver.answers = [says({}, 400), hangs_up]
    status, first = await post(im, {"umo": HOOK, "message": "again"}, "k1")
    assert (status, first["data"]["state"]) == (502, "dead")
    status, answer = await post(im, {"umo": HOOK, "message": "again"}, "k1")
    assert (status, answer["data"]["delivery_id"]) == (200, first["data"]["delivery_id"])
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1


async def test_a_request_that_waited_in_vain_leaves_nothing_going_on(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    im.sender.wait_seconds = 1.0
    gate = asyncio.Event()
    receiver.answers = [waits_for(gate)]
    first = asyncio.create_task(im.send(HOOK, "first"))
    await receiver.arrived.wait()
    im.sender.wait_seconds = 0.1
    answers = [await im.send(HOOK, "second"), await first]
    assert [(status, answer["data"]["state"]) for status, answer in answers] == [(504, "cancelled"), (504, "unknown")]
    gate.set()
    await asyncio.sleep(0.2)
    assert len(receiver.received) == 1


async def test_chats_do_not_wait_for_each_other_and_each_keeps_its_order(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    gate = asyncio.Event()
    receiver.answers = [waits_for(gate)]
    queued = [await post(im, {"umo": HOOK, "message": f"{number}", "delivery": "queue"}) for number in range(3)]
    await receiver.arrived.wait()
    assert (await im.send("support-hook:FriendMessage:2", "other"))[0] == 200
    gate.set()
    for _, answer in queued:
        await settled(im, answer["data"]["delivery_id"])
    texts = [request.data["parts"][0]["text"] for request in receiver.received]
    assert texts == ["0", "other", "1", "2"]
