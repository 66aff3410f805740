"""Bots: making and keeping them, and sending messages through them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
from msgspec import structs
from sqlalchemy import Connection

from app.auth.models import Principal
from app.bots import store
from app.bots.adapters.base import (
    Adapter,
    AdapterFactory,
    Attached,
    Capabilities,
    DeliveryError,
    OutgoingPart,
    Sent,
    Target,
)
from app.bots.adapters.webchat import PLATFORM_ID as WEBCHAT
from app.bots.adapters.webchat import WebchatAdapter
from app.bots.models import Bot
from app.bots.running import RunningAdapters
from app.bots.umo import Umo
from app.chat.parts import ClientPart, Media, MediaKind, Reply, Text, attachment_ids, check_attachments
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import BadRequest, Forbidden, NotFound
from app.files.models import Attachment
from app.files.service import FileService
from app.idempotency import AlreadyClaimed, Claim, Idempotency, record
from app.text import NAME_PATTERN

ID_PATTERN = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$"
MAX_NAME_CHARS = 100


class _Config(NamedTuple):
    """An adapter's settings: those that may be shown, the secret ones, and which of the latter were generated."""

    public: dict[str, Any]
    secret: dict[str, Any]
    generated: dict[str, str]


class BotService:
    """Bots in the database, and the built-in ones (by platform id) beside them."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        files: FileService,
        idempotency: Idempotency,
        *,
        factories: Sequence[AdapterFactory[Any]],
        builtin: Mapping[str, Adapter],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._files = files
        self._factories = {factory.name: factory for factory in factories}
        self._builtin = dict(builtin)
        self._running = RunningAdapters()
        self._idempotency = idempotency
        # One repeat of a message at a time; a lock goes when nobody holds it or waits for it.
        self._sending: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, *, id: str, adapter: str, config: Mapping[str, Any], name: str | None = None, enabled: bool = True
    ) -> tuple[Bot, dict[str, str]]:
        """Make a bot; returns it and the secrets that were generated for it, which are shown this once.

        Raises BadRequest for what makes no bot, Conflict when there is one of that id.
        """
        if not re.fullmatch(ID_PATTERN, id):
            raise BadRequest(
                "id must be 1 to 64 letters, digits, _, - or ., not beginning with a dot", code="invalid_id"
            )
        if id in self._builtin:
            raise BadRequest(f"id is reserved: {id}", code="id_reserved")
        factory = self._factories.get(adapter)
        if factory is None:
            names = ", ".join(sorted(self._factories))
            raise BadRequest(f"Unknown adapter: {adapter[:64]} (known: {names})", code="unknown_adapter")
        checked = _check_config(factory, id, config)
        now = utc_now()
        bot = Bot(
            id=id,
            adapter=adapter,
            name=id if name is None else _check_name(name),
            enabled=enabled,
            config=checked.public,
            created_at=now,
            updated_at=now,
        )
        secrets = self._seal(checked.secret)
        await self._database.write(lambda connection: store.add_bot(connection, bot, secrets))
        return bot, checked.generated

    async def list_bots(self) -> list[Bot]:
        """List the operator's bots by id."""
        return await self._database.read(store.list_bots)

    async def running_ids(self) -> list[str]:
        """List the platform ids that messages can be sent to, the built-in ones first."""
        bots = await self.list_bots()
        return [*self._builtin, *(bot.id for bot in bots if bot.enabled and bot.adapter in self._factories)]

    async def get(self, bot_id: str) -> Bot:
        """Raises NotFound."""
        bot, _ = await self._database.read(lambda connection: store.get_bot(connection, bot_id))
        return bot

    async def update(
        self,
        bot_id: str,
        *,
        name: str | None = None,
        enabled: bool | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> tuple[Bot, dict[str, str]]:
        """Change a bot (None: leave it as it is); returns it and the secrets that were generated on the way.

        Members of `config` that are not given stay; null brings a member back to its default, and a secret that the
        adapter can generate to a new one. Raises NotFound, BadRequest.
        """
        name = None if name is None else _check_name(name)

        def update(connection: Connection) -> tuple[Bot, dict[str, str]]:
            bot, secrets = store.get_bot(connection, bot_id, for_update=True)
            public, generated = bot.config, dict[str, str]()
            if config is not None:
                merged = {**bot.config, **self._unseal(secrets), **config}
                public, secret, generated = _check_config(self._factory_of(bot), bot_id, merged)
                secrets = self._seal(secret)
            bot = structs.replace(
                bot,
                name=bot.name if name is None else name,
                enabled=bot.enabled if enabled is None else enabled,
                config=public,
                updated_at=utc_now(),
            )
            store.save_bot(connection, bot, secrets)
            return bot, generated

        result = await self._database.write(update)
        await self._running.drop(bot_id)
        return result

    async def delete(self, bot_id: str) -> None:
        """Raises NotFound."""
        await self._database.write(lambda connection: store.delete_bot(connection, bot_id))
        await self._running.drop(bot_id)

    async def send(
        self, umo: Umo, parts: Sequence[ClientPart], principal: Principal, claim: Claim | None = None
    ) -> Sent:
        """Hand a message to a bot's platform; returns when the platform has taken it. With a claim, once.

        A platform cannot take part in a transaction: the claim is written when it has taken the message. When a crash
        comes in between, a repeat carries the same message key (the claim's), by which the adapter knows it.

        Raises NotFound when no such bot runs, BadRequest for parts that the platform or the caller does not have,
        Forbidden for sessions of others, DeliveryError when the platform did not take it,
        Unprocessable for a claim that was made with another message.
        """
        if claim is None:
            return await self._send(umo, parts, principal, str(uuid4()))
        async with self._sending.setdefault(claim.digest, asyncio.Lock()):
            if (result := await self._idempotency.find(claim)) is not None:
                return Sent(result["message_id"])
            receipt = await self._send(umo, parts, principal, claim.digest)
            with suppress(AlreadyClaimed):  # by another process, which sent it under the same message key
                await self._database.write(
                    lambda connection: record(connection, claim, {"message_id": receipt.message_id})
                )
            return receipt

    async def _send(self, umo: Umo, parts: Sequence[ClientPart], principal: Principal, message_key: str) -> Sent:
        if principal.username is not None and umo.platform_id != WEBCHAT:
            raise Forbidden(
                "The API key is bound to a username and may write to its webchat sessions only",
                code="username_not_allowed",
            )
        async with self._adapter(umo.platform_id) as adapter:
            target = Target(umo.message_type, umo.session_id, principal.username, principal.key_id)
            attachments: Mapping[str, Attachment] = {}
            if ids := attachment_ids(parts):
                username = await adapter.user_of(target) if isinstance(adapter, WebchatAdapter) else None
                attachments = await self._files.find_usable(ids, principal, username)
            return await _hand_over(adapter, umo, target, parts, attachments, message_key)

    async def send_for_user(
        self, umo: Umo, text: str, attachment_ids: Sequence[str], key: Principal, username: str, message_key: str
    ) -> Sent:
        """Hand over a message that a model wrote for a user, to a target that the operator admits.

        Its files must be the user's, or uploads of the key without a user. Raises what `send` does.
        """
        attachments = await self._files.find_usable(attachment_ids, key, username)
        parts: list[ClientPart] = [Text(text)] if text else []
        for id in attachment_ids:
            kind: MediaKind = attachments[id].type.value if id in attachments else "file"
            parts.append(Media(kind, id))
        async with self._adapter(umo.platform_id) as adapter:
            target = Target(umo.message_type, umo.session_id, None, key.key_id)
            return await _hand_over(adapter, umo, target, parts, attachments, message_key)

    async def close(self) -> None:
        """Close every adapter: nothing is sent any more."""
        await self._running.close()
        for adapter in self._builtin.values():
            await adapter.close()

    @asynccontextmanager
    async def _adapter(self, platform_id: str) -> AsyncIterator[Adapter]:
        """The adapter of a running bot, which stays open for as long as the block lasts. Raises NotFound."""
        if (builtin := self._builtin.get(platform_id)) is not None:
            yield builtin
            return
        match = await self._database.read(lambda connection: store.find_bot(connection, platform_id))
        if match is None or not match[0].enabled or match[0].adapter not in self._factories:
            raise NotFound(f"Bot not found or not running for platform: {platform_id}", code="bot_not_running")
        bot, secrets = match
        async with self._running.use(bot, lambda: self._build(bot, secrets)) as adapter:
            yield adapter

    def _build(self, bot: Bot, secrets: bytes) -> Adapter:
        factory = self._factories[bot.adapter]
        try:
            config = msgspec.convert({**bot.config, **self._unseal(secrets)}, factory.config_type)
            return factory.build(bot.id, config)
        except (msgspec.ValidationError, BadRequest) as error:
            # They were good when they were stored; the operator has changed what is allowed since.
            raise DeliveryError("The bot's settings can no longer be used") from error

    def _factory_of(self, bot: Bot) -> AdapterFactory[Any]:
        factory = self._factories.get(bot.adapter)
        if factory is None:
            raise BadRequest(f"Unknown adapter: {bot.adapter}", code="unknown_adapter")
        return factory

    def _seal(self, secrets: Mapping[str, Any]) -> bytes:
        return self._secrets.encrypt(msgspec.json.encode(secrets))

    def _unseal(self, secrets: bytes) -> dict[str, Any]:
        return msgspec.json.decode(self._secrets.decrypt(secrets), type=dict[str, Any])


async def _hand_over(
    adapter: Adapter,
    umo: Umo,
    target: Target,
    parts: Sequence[ClientPart],
    attachments: Mapping[str, Attachment],
    message_key: str,
) -> Sent:
    _check_fits(parts, adapter.capabilities, umo.platform_id)
    check_attachments(parts, attachments)
    return await adapter.send(target, [_outgoing(part, attachments) for part in parts], message_key)


def _check_config(factory: AdapterFactory[Any], bot_id: str, values: Mapping[str, Any]) -> _Config:
    """Complete an adapter's settings, and check them. Raises BadRequest."""
    set_values = {field: value for field, value in values.items() if value is not None}
    generated = {field: value for field, value in factory.generate().items() if field not in set_values}
    try:
        config = msgspec.convert({**set_values, **generated}, factory.config_type)
    except msgspec.ValidationError as error:
        raise BadRequest(f"config: {error}", code="invalid_config") from None
    factory.build(bot_id, config)  # says what is wrong with the values; it is not used
    fields = msgspec.to_builtins(config)
    secret = {field: fields.pop(field) for field in factory.secret_fields & fields.keys()}
    return _Config(public=fields, secret=secret, generated=generated)


def _check_name(name: str) -> str:
    name = name.strip()
    if len(name) > MAX_NAME_CHARS or not re.fullmatch(NAME_PATTERN, name):
        raise BadRequest(f"name must be 1 to {MAX_NAME_CHARS} printable characters", code="invalid_request")
    return name


def _check_fits(parts: Sequence[ClientPart], capabilities: Capabilities, platform_id: str) -> None:
    """Raises BadRequest for a message that the platform cannot show."""
    for part in parts:
        kind = "plain" if isinstance(part, Text) else part.kind if isinstance(part, Media) else None
        if (kind is None and not capabilities.replies) or (kind is not None and kind not in capabilities.parts):
            raise BadRequest(f"{platform_id} does not take {kind or 'reply'} parts", code="part_not_supported")
    chars = sum(len(part.text) for part in parts if isinstance(part, Text))
    limit = capabilities.max_text_chars
    if limit is not None and chars > limit:
        raise BadRequest(f"{platform_id} takes at most {limit} characters", code="message_too_long")


def _outgoing(part: ClientPart, attachments: Mapping[str, Attachment]) -> OutgoingPart:
    if isinstance(part, (Text, Reply)):
        return part
    return Attached(part, attachments[part.attachment_id])
