"""A running server whose bots may call loopback and try again quickly, and a bot on a stand-in of a platform."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.bots.adapters.http import Network
from app.bots.outbox.policy import RetryPolicy
from app.bots.outbox.worker import Outbox
from app.bots.platforms import platform_factories
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.edge.services import provide, service
from app.files.service import FileService
from app.idempotency import Idempotency
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.platforms.base import FakePlatform, serving
from tests.support.server import Server

QUICK = RetryPolicy(tries=4, wait_initial=0.05, wait_max=0.2)
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
async def stage_of(start_server: StartServer, fake: FakePlatform, wait_seconds: float) -> AsyncIterator[Stage]:
    async with start_server(webhook_allow_private=True) as server:
        async with server.app.app_context():
            files, outbox_of_app = service(FileService), service(Outbox)
        await outbox_of_app.close()  # which would be too patient
        database = server.core.database
        bots = BotService(
            database, server.core.secrets, factories=platform_factories(Network(allow_private=True)), builtin={}
        )
        outbox = Outbox(database, bots, files, "the-tests", sole_owner=True, policy=QUICK)
        messages = MessageService(database, bots, outbox, files, Idempotency(database), wait_seconds=wait_seconds)
        for each in (bots, outbox, messages):
            provide(server.app, each)
        await outbox.open()
        key = await server.new_key("im", "file", "chat", "admin")
        async with Client(server, key) as client:
            stage = Stage(server, client, bots, outbox, messages, fake)
            bot = {"id": BOT, "adapter": fake.adapter, "config": fake.config()}
            status, answer = await stage.call("POST", "/api/v1/bots", bot)
            assert status == 201, answer
            yield stage
        await outbox.close()
        await bots.close()


@pytest.fixture
def wait_seconds() -> float:
    """How long requests wait for their delivery; parametrize it to wait less."""
    return 10.0


@pytest.fixture
async def stage(start_server: StartServer, request: pytest.FixtureRequest, wait_seconds: float) -> AsyncIterator[Stage]:
    """The stage with the stand-in of the test's class (`fake_type`)."""
    async with serving(request.cls.fake_type()) as fake, stage_of(start_server, fake, wait_seconds) as stage:
        yield stage
