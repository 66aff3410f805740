"""A running server whose bots may call loopback and try again quickly, and a bot on a stand-in of a platform."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from app.bots.adapters.http import Network
from app.bots.outbox.policy import RetryPolicy
from app.bots.outbox.worker import Outbox
from app.bots.platforms import platform_factories
from app.bots.sending import MessageService
from app.bots.service import BotService
from tests.conftest import StartServer
from tests.support.bots import quick_bots
from tests.support.client import Client
from tests.support.platforms.base import FakePlatform, serving
from tests.support.server import Server

QUICK = RetryPolicy(tries=4, wait_initial=0.05, wait_max=0.2, look_after=timedelta(seconds=0.1))
BOT = "bot1"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(slots=True)
class Stage:
    """A server, and a bot of it on the stand-in `fake`."""

    server: Server
    client: Client
    bots: BotService
    outbox: Outbox
    messages: MessageService
    fake: FakePlatform

    def umo(self, session: str | None = None, *, group: bool = False) -> str:
        kind = "GroupMessage" if group else "FriendMessage"
        return f"{BOT}:{kind}:{session or (self.fake.group if group else self.fake.session)}"

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> tuple[int, Any]:
        response = await self.client.request(method, path, json=json, headers=headers)
        return response.status_code, response.json()

    async def send(
        self, message: Any, session: str | None = None, *, group: bool = False, **options: Any
    ) -> tuple[int, Any]:
        body = {"umo": self.umo(session, group=group), "message": message, **options}
        return await self.call("POST", "/api/v1/im/message", body)

    async def delivery(self, answer: Any) -> dict[str, Any]:
        """The delivery that an answer names, as it is now."""
        status, body = await self.call("GET", f"/api/v1/im/deliveries/{answer['data']['delivery_id']}")
        assert status == 200, body
        found: dict[str, Any] = body["data"]
        return found

    async def upload(self, filename: str = "cat.png", content: bytes = PNG) -> str:
        response = await self.client.request("POST", "/api/v1/file", files={"file": (filename, content)})
        assert response.status_code == 200, response.text
        return str(response.json()["data"]["attachment_id"])


StartStage = Callable[..., Awaitable[Stage]]


@asynccontextmanager
async def stage_of(
    start_server: StartServer, fake: FakePlatform, wait_seconds: float, settings: dict[str, Any]
) -> AsyncIterator[Stage]:
    factories = platform_factories(Network(allow_private=True))
    async with (
        start_server(webhook_allow_private=True) as server,
        quick_bots(server, factories, QUICK, wait_seconds) as bots,
        Client(server, await server.new_key("im", "file", "chat", "admin")) as client,
    ):
        stage = Stage(server, client, bots.service, bots.outbox, bots.messages, fake)
        bot = {"id": BOT, "adapter": fake.adapter, "config": {**fake.config(), **settings}}
        status, answer = await stage.call("POST", "/api/v1/bots", bot)
        assert status == 201, answer
        yield stage


@pytest.fixture
def wait_seconds() -> float:
    """How long requests wait for their delivery; parametrize it to wait less."""
    return 10.0


@pytest.fixture
def settings() -> dict[str, Any]:
    """More settings of the bot; parametrize it to give some."""
    return {}


@pytest.fixture
async def stage(
    start_server: StartServer, request: pytest.FixtureRequest, wait_seconds: float, settings: dict[str, Any]
) -> AsyncIterator[Stage]:
    """The stage with the stand-in of the test's class (`fake_type`)."""
    fake = request.cls.fake_type()
    async with serving(fake), stage_of(start_server, fake, wait_seconds, settings) as stage:
        yield stage


async def connection_of(stage: Stage, state: str) -> Any:
    """The bot's connection once it is in a state."""
    async with asyncio.timeout(10):
        while True:
            _, answer = await stage.call("GET", f"/api/v1/bots/{BOT}")
            connection = answer["data"]["connection"]
            if connection is not None and connection["state"] == state:
                return connection
            await asyncio.sleep(0.05)
