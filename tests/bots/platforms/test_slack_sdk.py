"""Slack's own SDK against the stand-in: if it has no complaint, the stand-in is like Slack."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.platforms.base import serving
from tests.support.platforms.slack import APP_TOKEN, TOKEN, SlackFake

AsyncWebClient: Any = pytest.importorskip("slack_sdk.web.async_client").AsyncWebClient
SlackApiError: Any = pytest.importorskip("slack_sdk.errors").SlackApiError
SocketModeClient: Any = pytest.importorskip("slack_sdk.socket_mode.aiohttp").SocketModeClient
SocketModeResponse: Any = pytest.importorskip("slack_sdk.socket_mode.response").SocketModeResponse


@pytest.fixture
async def fake() -> AsyncIterator[SlackFake]:
    slack = SlackFake()
    async with serving(slack):
        yield slack


@pytest.fixture
def client(fake: SlackFake) -> Any:
    return AsyncWebClient(TOKEN, base_url=f"{fake.url}/api/", retry_handlers=[])


async def test_messages_are_posted_changed_and_deleted(fake: SlackFake, client: Any) -> None:
    assert (await client.auth_test())["user"] == "palaver"
    channel = (await client.conversations_open(users=fake.session))["channel"]["id"]
    posted = await client.chat_postMessage(channel=channel, text="hello")
    await client.chat_update(channel=channel, ts=posted["ts"], text="hello again")
    assert fake.texts() == ["hello again"]
    await client.chat_delete(channel=channel, ts=posted["ts"])
    assert fake.texts() == []
    with pytest.raises(SlackApiError, match="channel_not_found"):
        await client.chat_postMessage(channel="C0UNKNOWN", text="hello")


async def test_files_are_uploaded(fake: SlackFake, client: Any) -> None:
    await client.files_upload_v2(channel=fake.group, filename="notes.txt", content="some notes")
    assert [(each.filename, each.content) for each in fake.seen(fake.group)] == [("notes.txt", b"some notes")]


async def test_events_come_over_socket_mode(fake: SlackFake, client: Any) -> None:
    socket = SocketModeClient(APP_TOKEN, web_client=client)
    heard: list[str] = []

    async def take(_: Any, request: Any) -> None:
        heard.append(request.payload["event"]["text"])
        await socket.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    socket.socket_mode_request_listeners.append(take)
    await socket.connect()
    try:
        await fake.receive("hello")
        await fake.until(lambda: heard == ["hello"] and not fake.unacknowledged)
    finally:
        await asyncio.wait_for(socket.close(), 5)
