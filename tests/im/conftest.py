"""A small application with the IM slice, real keys and a real database; chat and files are stand-ins."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quart import Quart, g

from app.auth.guards import AuthPolicy, install_guard
from app.auth.models import ApiKeyRow
from app.auth.service import KeyService
from app.chat.parts import PartLimits
from app.im.adapters.base import AdapterFactory, Capabilities
from app.im.adapters.webchat import WebchatAdapter
from app.im.adapters.webhook import RetryPolicy, webhook_factory
from app.im.models import BotRow
from app.im.routes import blueprint
from app.im.service import BotService
from app.kit.crypto import SecretBox
from app.kit.db import Base, Database, sqlite_url
from app.kit.http import BodyLimit, install_errors, open_api_error, provide
from tests.im.fakes import ChatSessions, Files, RecordingAdapter
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

QUICK = RetryPolicy(tries=3, total=5.0, each=2.0, wait_initial=0.01, wait_jitter=0.0)


class RecordingConfig(msgspec.Struct, frozen=True):
    greeting: str = "hi"


@dataclass(slots=True)
class Im:
    """The application with its stand-ins, and `call` to make requests with a key of all the scopes needed."""

    app: Quart
    service: BotService
    keys: KeyService
    sessions: ChatSessions
    files: Files
    platform: RecordingAdapter
    data_dir: Path
    key: str = ""

    async def call(self, method: str, path: str, json: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        headers = {"X-API-Key": key or self.key}
        body = b""
        if json is not None:
            body = msgspec.json.encode(json)
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        request = getattr(self.app.test_client(), method.lower())
        response = await request(path, headers=headers, data=body)
        assert response.content_type == "application/json"
        return response.status_code, await response.get_json()

    async def send(self, umo: Any, message: Any = "hello", *, key: str | None = None) -> tuple[int, Any]:
        return await self.call("POST", "/api/v1/im/message", {"umo": umo, "message": message}, key=key)

    async def new_key(self, *scopes: str, username: str | None = None) -> str:
        _, text = await self.keys.create(name="test", scopes=scopes, username=username)
        return text

    async def new_hook(self, receiver: WebhookReceiver, bot_id: str = "support-hook") -> None:
        """A webhook bot for the receiver, which learns the generated secret."""
        bot = {"id": bot_id, "adapter": "webhook", "config": {"url": receiver.url}}
        status, answer = await self.call("POST", "/api/v1/bots", bot)
        assert status == 201, answer
        receiver.secret = answer["data"]["generated_secrets"]["secret"]


@pytest.fixture
async def im(tmp_path: Path) -> AsyncIterator[Im]:
    database = Database(sqlite_url(tmp_path / "palaver.db"))
    async with database.write() as connection:
        tables: Any = [ApiKeyRow.__table__, BotRow.__table__]
        await connection.run_sync(lambda sync: Base.metadata.create_all(sync, tables=tables))
    secrets = SecretBox(bytes(32))
    keys = KeyService(database, secrets, tmp_path / "keys.changed")
    sessions, files, platform = ChatSessions(), Files(), RecordingAdapter(Capabilities(frozenset({"plain"}), 10, False))
    bots = BotService(
        database,
        secrets,
        files,
        factories=[
            webhook_factory(allow_private=True, policy=QUICK),
            AdapterFactory("recording", RecordingConfig, lambda _id, _config: platform),
        ],
        builtin={"webchat": WebchatAdapter(sessions)},
    )
    app = Quart(__name__)
    for provided in (AuthPolicy(), keys, bots, PartLimits(chars=100, parts=5), BodyLimit(4096)):
        provide(app, provided)
    install_errors(app, [("/api/v1", open_api_error)])
    install_guard(app)
    app.register_blueprint(blueprint)
    app.before_request(lambda: setattr(g, "request_id", "r"))
    im = Im(app, bots, keys, sessions, files, platform, tmp_path)
    im.key = await im.new_key("im", "admin")
    yield im
    await bots.close()
    await database.close()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver
