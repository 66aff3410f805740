"""Bots: making and keeping them, and sending messages through them."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.models import Principal
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
from app.bots.models import Bot, BotRow
from app.bots.umo import Umo
from app.chat.commands import NAME_PATTERN
from app.chat.parts import ClientPart, Media, Reply, Text, attachment_ids, check_attachments
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import BadRequest, Conflict, Forbidden, NotFound
from app.files.models import Attachment
from app.idempotency import AlreadyClaimed, Claim, Idempotency, record

ID_PATTERN = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$"
MAX_NAME_CHARS = 100


class AttachmentFinder(Protocol):
    """What sending needs of `app.files.service.FileService`."""

    async def find_many(self, ids: Collection[str], principal: Principal | None) -> dict[str, Attachment]:
        """Those of `ids` that exist and that the principal may see, by id."""


@dataclass(slots=True)
class _Running:
    """An adapter in use, made from the bot as it was at `version`."""

    adapter: Adapter
    version: datetime
    senders: int = 0
    retired: bool = False


class BotService:
    """Bots in the database, and the built-in ones (by platform id) beside them.

    A bot's adapter is made when it is first needed, kept while the bot stays as it is, and closed when it changes,
    once the messages under way have gone.
    """

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        files: AttachmentFinder,
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
        self._running: dict[str, _Running] = {}
        self._idempotency = idempotency
        # One repeat of a message at a time; a lock goes when nobody holds it or waits for it.
        self._sending: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, *, id: str, adapter: str, config: Mapping[str, Any], name: str | None = None, enabled: bool = True
    ) -> tuple[Bot, dict[str, str]]:
        """A new bot, and the secrets that were generated for it, which are shown this once.

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
            known = ", ".join(sorted(self._factories))
            raise BadRequest(f"Unknown adapter: {adapter[:64]} (known: {known})", code="unknown_adapter")
        plain, hidden, generated = _check_config(factory, id, config)
        now = utc_now()
        name = id if name is None else _check_name(name)
        bot = Bot(id, adapter, name, enabled, plain, created_at=now, updated_at=now)
        row = {
            "id": id,
            "adapter": adapter,
            "name": name,
            "enabled": enabled,
            "config": plain,
            "secrets": self._seal(hidden),
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.write_block() as connection:
                await connection.execute(insert(BotRow).values(row))
        except IntegrityError:
            raise Conflict(f"Bot already exists: {id}", code="bot_exists") from None
        return bot, generated

    async def list_bots(self) -> list[Bot]:
        """Every bot of the operator's, by id."""
        async with self._database.read_block() as connection:
            return [_to_bot(row) for row in await connection.execute(select(BotRow).order_by(BotRow.id))]

    async def running_ids(self) -> list[str]:
        """The platform ids that messages can be sent to: the built-in ones first."""
        query = select(BotRow.id, BotRow.adapter).where(BotRow.enabled).order_by(BotRow.id)
        async with self._database.read_block() as connection:
            rows = await connection.execute(query)
            return [*self._builtin, *(row.id for row in rows if row.adapter in self._factories)]

    async def get(self, bot_id: str) -> Bot:
        """Raises NotFound."""
        async with self._database.read_block() as connection:
            return _to_bot(await _get_row(connection, bot_id))

    async def update(
        self,
        bot_id: str,
        *,
        name: str | None = None,
        enabled: bool | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> tuple[Bot, dict[str, str]]:
        """Change what is given (None: leave it), and the secrets that were generated on the way.

        Members of `config` that are not given stay; null brings a member back to its default, and a secret that the
        adapter can generate to a new one. Raises NotFound, BadRequest.
        """
        values: dict[str, Any] = {"updated_at": utc_now()}
        generated: dict[str, str] = {}
        if name is not None:
            values["name"] = _check_name(name)
        if enabled is not None:
            values["enabled"] = enabled
        async with self._database.write_block() as connection:
            row = await _get_row(connection, bot_id)
            if config is not None:
                merged = {**row.config, **self._unseal(row.secrets), **config}
                plain, hidden, generated = _check_config(self._factory_of(row), bot_id, merged)
                values |= {"config": plain, "secrets": self._seal(hidden)}
            await connection.execute(update(BotRow).where(BotRow.id == bot_id).values(values))
            bot = _to_bot(await _get_row(connection, bot_id))
        await self._forget(bot_id)
        return bot, generated

    async def delete(self, bot_id: str) -> None:
        """Raises NotFound."""
        async with self._database.write_block() as connection:
            result = await connection.execute(delete(BotRow).where(BotRow.id == bot_id))
        if result.rowcount == 0:
            raise _not_found()
        await self._forget(bot_id)

    async def send(
        self, umo: Umo, parts: Sequence[ClientPart], principal: Principal, claim: Claim | None = None
    ) -> Sent:
        """Hand a message to a bot's platform; back when the platform has taken it. With a claim, once.

        A platform cannot take part in a transaction: the claim is written when it has taken the message. What a crash
        in between leaves open, the adapter tells by the message's key, which is the claim's.

        Raises NotFound when no such bot runs, BadRequest for parts that the platform or the caller does not have,
        Forbidden for sessions of others, DeliveryError when the platform did not take it,
        Unprocessable for a claim that was made with another message.
        """
        if claim is None:
            return await self._send(umo, parts, principal, str(uuid4()))
        async with self._sending.setdefault(claim.digest, asyncio.Lock()):
            if (first := await self._idempotency.find(claim)) is not None:
                return Sent(first["message_id"])
            sent = await self._send(umo, parts, principal, claim.digest)
            with suppress(AlreadyClaimed):  # by another process, which sent it under the same message key
                async with self._database.write_block() as connection:
                    await connection.run_sync(record, claim, {"message_id": sent.message_id})
            return sent

    async def _send(self, umo: Umo, parts: Sequence[ClientPart], principal: Principal, message_key: str) -> Sent:
        if principal.username is not None and umo.platform_id != WEBCHAT:
            raise Forbidden(
                "The API key is bound to a username and may write to its webchat sessions only",
                code="username_not_allowed",
            )
        async with self._adapter(umo.platform_id) as adapter:
            _check_fits(parts, adapter.capabilities, umo.platform_id)
            found: Mapping[str, Attachment] = {}
            if ids := attachment_ids(parts):
                found = await self._files.find_many(ids, principal)
                check_attachments(parts, found)
            target = Target(umo.message_type, umo.session_id, principal.username)
            return await adapter.send(target, [_outgoing(part, found) for part in parts], message_key)

    async def close(self) -> None:
        """Close every adapter: nothing is sent any more."""
        running, self._running = self._running, {}
        for entry in running.values():
            await entry.adapter.close()
        for adapter in self._builtin.values():
            await adapter.close()

    @asynccontextmanager
    async def _adapter(self, platform_id: str) -> AsyncIterator[Adapter]:
        """The adapter of a running bot, which stays open for as long as the block lasts. Raises NotFound."""
        if (builtin := self._builtin.get(platform_id)) is not None:
            yield builtin
            return
        async with self._database.read_block() as connection:
            row = (await connection.execute(select(BotRow).where(BotRow.id == platform_id))).first()
        if row is None or not row.enabled or row.adapter not in self._factories:
            raise NotFound(f"Bot not found or not running for platform: {platform_id}", code="bot_not_running")
        entry = self._running.get(platform_id)
        stale = None
        if entry is None or entry.version != row.updated_at:
            # Changed by another process, or not used yet: swapped in one step, so that no second sender makes another.
            stale, entry = entry, _Running(self._build(row), row.updated_at)
            self._running[platform_id] = entry
        entry.senders += 1
        try:
            if stale is not None:
                await _retire(stale)
            yield entry.adapter
        finally:
            entry.senders -= 1
            if entry.retired and entry.senders == 0:
                await entry.adapter.close()

    async def _forget(self, bot_id: str) -> None:
        """Let go of the adapter that was made for an earlier state of the bot."""
        if (entry := self._running.pop(bot_id, None)) is not None:
            await _retire(entry)

    def _build(self, row: Any) -> Adapter:
        factory = self._factories[row.adapter]
        try:
            config = msgspec.convert({**row.config, **self._unseal(row.secrets)}, factory.config_type)
            return factory.build(row.id, config)
        except (msgspec.ValidationError, BadRequest) as error:
            # They were good when they were stored; the operator has changed what is allowed since.
            raise DeliveryError("The bot's settings can no longer be used") from error

    def _factory_of(self, row: Any) -> AdapterFactory[Any]:
        factory = self._factories.get(row.adapter)
        if factory is None:
            raise BadRequest(f"Unknown adapter: {row.adapter}", code="unknown_adapter")
        return factory

    def _seal(self, hidden: Mapping[str, Any]) -> bytes:
        return self._secrets.encrypt(msgspec.json.encode(hidden))

    def _unseal(self, sealed: bytes) -> dict[str, Any]:
        return msgspec.json.decode(self._secrets.decrypt(sealed), type=dict[str, Any])


async def _retire(entry: _Running) -> None:
    entry.retired = True
    if entry.senders == 0:
        await entry.adapter.close()


def _check_config(
    factory: AdapterFactory[Any], bot_id: str, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The settings that may be shown, those that may not, and those of them that were generated. Raises BadRequest."""
    kept = {field: value for field, value in given.items() if value is not None}
    generated = {field: value for field, value in factory.generate().items() if field not in kept}
    try:
        config = msgspec.convert({**kept, **generated}, factory.config_type)
    except msgspec.ValidationError as error:
        raise BadRequest(f"config: {error}", code="invalid_config") from None
    factory.build(bot_id, config)  # says what is wrong with the values; it is not used
    every = msgspec.to_builtins(config)
    hidden = {field: value for field, value in every.items() if field in factory.secret_fields}
    plain = {field: value for field, value in every.items() if field not in factory.secret_fields}
    return plain, hidden, generated


def _check_name(name: str) -> str:
    name = name.strip()
    if len(name) > MAX_NAME_CHARS or not re.fullmatch(NAME_PATTERN, name):
        raise BadRequest(f"name must be 1 to {MAX_NAME_CHARS} printable characters", code="invalid_request")
    return name


def _check_fits(parts: Sequence[ClientPart], takes: Capabilities, platform_id: str) -> None:
    """Raises BadRequest for a message that the platform cannot show."""
    for part in parts:
        kind = "plain" if isinstance(part, Text) else part.kind if isinstance(part, Media) else None
        if (kind is None and not takes.replies) or (kind is not None and kind not in takes.parts):
            raise BadRequest(f"{platform_id} does not take {kind or 'reply'} parts", code="part_not_supported")
    chars = sum(len(part.text) for part in parts if isinstance(part, Text))
    if takes.max_text_chars is not None and chars > takes.max_text_chars:
        raise BadRequest(f"{platform_id} takes at most {takes.max_text_chars} characters", code="message_too_long")


def _outgoing(part: ClientPart, found: Mapping[str, Attachment]) -> OutgoingPart:
    if isinstance(part, (Text, Reply)):
        return part
    return Attached(part, found[part.attachment_id])


async def _get_row(connection: AsyncConnection, bot_id: str) -> Any:
    row = (await connection.execute(select(BotRow).where(BotRow.id == bot_id))).first()
    if row is None:
        raise _not_found()
    return row


def _not_found() -> NotFound:
    return NotFound("Bot not found", code="bot_not_found")


def _to_bot(row: Any) -> Bot:
    return Bot(
        id=row.id,
        adapter=row.adapter,
        name=row.name,
        enabled=row.enabled,
        config=row.config,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
