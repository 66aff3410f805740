"""A running server whose bots may call loopback and try again quickly, with one more kind of bot: one that records."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from app.bots.adapters.base import AdapterFactory, Capabilities
from app.bots.adapters.http import Network
from app.bots.adapters.webhook import webhook_factory
from app.bots.formatting.splitting import TextLimit
from app.bots.outbox.policy import RetryPolicy
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.chat.models import MessageRow, SessionRow
from app.database.engine import Database
from app.files.service import FileService
from tests.bots.fakes import RecordingAdapter
from tests.conftest import StartServer
from tests.support.bots import quick_bots
from tests.support.client import Client
from tests.support.server import Server
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

QUICK = RetryPolicy(tries=3, wait_initial=0.01)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class RecordingConfig(msgspec.Struct, frozen=True):
    greeting: str = "hi"


@dataclass(slots=True)
class Im:
    """The server, and `call` to make requests: with a key of the scopes needed, unless another is given."""

    server: Server
    client: Client
    service: BotService
    sender: MessageService
    files: FileService
    platform: RecordingAdapter

    @property
    def database(self) -> Database:
        return self.server.core.database

    async def call(self, method: str, path: str, json: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        headers = {} if key is None else {"X-API-Key": key}
        response = await self.client.request(method, path, headers=headers, json=json)
        return response.status_code, response.json()

    async def send(self, umo: Any, message: Any = "hello", *, key: str | None = None) -> tuple[int, Any]:
        return await self.call("POST", "/api/v1/im/message", {"umo": umo, "message": message}, key=key)

    async def new_hook(self, receiver: WebhookReceiver, bot_id: str = "support-hook") -> None:
        """A webhook bot for the receiver, which learns the generated secret."""
        bot = {"id": bot_id, "adapter": "webhook", "config": {"url": receiver.url}}
        status, answer = await self.call("POST", "/api/v1/bots", bot)
        assert status == 201, answer
        receiver.secret = answer["data"]["generated_secrets"]["secret"]

    async def upload(self, *, key: str | None = None) -> str:
        """The id of a new attachment, `cat.png`."""
        headers = {} if key is None else {"X-API-Key": key}
        response = await self.client.request("POST", "/api/v1/file", files={"file": ("cat.png", PNG)}, headers=headers)
        assert response.status_code == 200, response.text
        return str(response.json()["data"]["attachment_id"])

    async def creators(self) -> dict[str, str]:
        """Who the stored sessions belong to."""
        query = select(SessionRow.id, SessionRow.creator)
        return await self.database.read(lambda connection: {row.id: row.creator for row in connection.execute(query)})

    async def messages(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The bot messages of all sessions: session and parts."""
        bots_own = select(MessageRow).where(MessageRow.role == "assistant", MessageRow.status == "complete")
        return await self.database.read(
            lambda connection: [
                (row.session_id, row.parts) for row in connection.execute(bots_own.order_by(MessageRow.id))
            ]
        )


@pytest.fixture
async def im(start_server: StartServer) -> AsyncIterator[Im]:
    async with start_server(max_message_chars=100, max_parts=5, max_body_bytes=4096) as server:
        platform = RecordingAdapter(Capabilities(frozenset({"plain"}), TextLimit(10), replies=False))
        factories: list[AdapterFactory[Any]] = [
            webhook_factory(Network(allow_private=True)),
            AdapterFactory("recording", RecordingConfig, lambda _id, _config: platform),
        ]
        key = await server.new_key("im", "file", "chat", "admin")
        async with quick_bots(server, factories, QUICK) as bots, Client(server, key) as client:
            yield Im(server, client, bots.service, bots.messages, bots.files, platform)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver
