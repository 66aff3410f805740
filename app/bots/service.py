"""Bots: making, changing and keeping them, and their adapters."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import Connection

from app.bots import store
from app.bots.adapters.base import Adapter, AdapterFactory, BotIdentity, Probe
from app.bots.adapters.inbound import Listener
from app.bots.adapters.outcomes import DeliveryError, NotSent
from app.bots.inbox.models import Connection as BotConnection
from app.bots.inbox.models import ConnectionState, Pairing
from app.bots.inbox.store import decide_pairing, find_connection, forget_bot, list_pairings
from app.bots.models import Bot
from app.bots.outbox.store import lift_pause
from app.bots.outbox.worker import BotInUse
from app.bots.running import RunningAdapters
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import BadRequest, NotFound
from app.text import NAME_PATTERN

ID_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}\Z"
MAX_NAME_CHARS = 100


class _Config(NamedTuple):
    """An adapter's settings: those that may be shown, the secret ones, and which of the latter were generated."""

    public: dict[str, Any]
    secret: dict[str, Any]
    generated: dict[str, str]


class Kind(NamedTuple):
    """A kind of bots: the schema of its settings, and which of them are secret."""

    name: str
    schema: dict[str, Any]
    secret_fields: list[str]


class BotService:
    """Bots in the database, and the built-in ones (by bot id) beside them."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        *,
        factories: Sequence[AdapterFactory[Any]],
        builtin: Mapping[str, Adapter],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._factories = {factory.name: factory for factory in factories}
        self._builtin = dict(builtin)
        self._running = RunningAdapters()
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, act: Callable[[], None]) -> None:
        """Have `act` called when a bot was made, changed or deleted."""
        self._on_change = act

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
        self._on_change()
        return bot, checked.generated

    async def list_bots(self) -> list[Bot]:
        """List the operator's bots by id."""
        return await self._database.read(store.list_bots)

    def kinds(self) -> list[Kind]:
        """List the kinds of bots, with the JSON Schemas of their settings."""
        return [
            Kind(factory.name, _schema_of(factory), sorted(factory.secret_fields))
            for factory in sorted(self._factories.values(), key=lambda factory: factory.name)
        ]

    async def running_ids(self) -> list[str]:
        """List the platform ids that messages can be sent to, the built-in ones first."""
        bots = await self.list_bots()
        return [*self._builtin, *(bot.id for bot in bots if bot.enabled and bot.adapter in self._factories)]

    async def check(self, bot_id: str) -> BotIdentity:
        """Ask the platform who the bot is. Raises NotFound, DeliveryError, BadRequest for a kind that cannot tell."""
        async with self.use(bot_id) as bot:
            if isinstance(bot.adapter, Probe):
                return await bot.adapter.check()
            if not isinstance(bot.adapter, Listener):
                raise BadRequest("Bots of this kind cannot be tested", code="not_testable")
        # What it is told comes with the connection, which a server has.
        connection = await self.connection(bot_id)
        if connection is None or connection.state is not ConnectionState.CONNECTED or connection.identity is None:
            problem = None if connection is None else connection.last_error
            raise NotSent(problem or "The bot has no connection; a server that runs makes it")
        return BotIdentity(str(connection.identity["id"]), str(connection.identity["name"]))

    async def connection(self, bot_id: str) -> BotConnection | None:
        """Return how the bot's connection is; None if it never had one."""
        return await self._database.read(lambda connection: find_connection(connection, bot_id))

    async def list_pairings(self, bot_id: str) -> list[Pairing]:
        """Raises NotFound."""

        def read(connection: Connection) -> list[Pairing]:
            store.get_bot(connection, bot_id)
            return list_pairings(connection, bot_id)

        return await self._database.read(read)

    async def decide_pairing(self, bot_id: str, code: str, approved: bool) -> Pairing:
        """Let the person with a code talk to the bot, or not. Raises NotFound."""

        def decide(connection: Connection) -> Pairing:
            store.get_bot(connection, bot_id)
            pairing = None if "\0" in code else decide_pairing(connection, bot_id, code, approved, utc_now())
            if pairing is None:
                raise NotFound("Pairing not found", code="pairing_not_found")
            return pairing

        return await self._database.write(decide)

    async def find_by_webhook(self, webhook_uuid: str) -> str | None:
        """Return the id of the bot whose setting `webhook_uuid` this is."""
        bots = await self._database.read(store.list_bots)
        return next((bot.id for bot in bots if bot.config.get("webhook_uuid") == webhook_uuid), None)

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
                factory = self._factory_of(bot)
                merged = {**self._stored_config(bot, factory, secrets), **config}
                public, secret, generated = _check_config(factory, bot_id, merged)
                secrets = self._seal(secret)
            bot = structs.replace(
                bot,
                name=bot.name if name is None else name,
                enabled=bot.enabled if enabled is None else enabled,
                config=public,
                updated_at=utc_now(),
            )
            store.save_bot(connection, bot, secrets)
            lift_pause(connection, (bot_id, ""))  # the credentials may be good now
            return bot, generated

        result = await self._database.write(update)
        await self._running.drop(bot_id)
        self._on_change()
        return result

    async def delete(self, bot_id: str) -> None:
        """Raises NotFound."""

        def delete(connection: Connection) -> None:
            store.delete_bot(connection, bot_id)
            forget_bot(connection, bot_id)

        await self._database.write(delete)
        await self._running.drop(bot_id)
        self._on_change()

    async def close(self) -> None:
        """Close every adapter: nothing is sent any more."""
        await self._running.close()
        for adapter in self._builtin.values():
            await adapter.close()

    @asynccontextmanager
    async def use(self, bot_id: str) -> AsyncIterator[BotInUse]:
        """The adapter of a running bot, which stays open for as long as the block lasts.

        Raises NotFound, DeliveryError for settings that can no longer be used, Unavailable.
        """
        if (builtin := self._builtin.get(bot_id)) is not None:
            yield BotInUse(builtin, bot_id)
            return
        match = await self._database.read(lambda connection: store.find_bot(connection, bot_id))
        if match is None or not match[0].enabled or match[0].adapter not in self._factories:
            raise NotFound(f"Bot not found or not running for platform: {bot_id}", code="bot_not_running")
        bot, secrets = match
        async with self._running.use(bot, lambda: self._build(bot, secrets)) as adapter:
            yield BotInUse(adapter, bot.adapter, at_least_once=bot.config.get("at_least_once", False) is True)

    def _build(self, bot: Bot, secrets: bytes) -> Adapter:
        factory = self._factories[bot.adapter]
        try:
            config = msgspec.convert(self._stored_config(bot, factory, secrets), factory.config_type)
            return factory.build(bot.id, config)
        except (msgspec.ValidationError, BadRequest) as error:
            # They were good when they were stored; the operator has changed what is allowed since.
            raise DeliveryError("The bot's settings can no longer be used") from error

    def _stored_config(self, bot: Bot, factory: AdapterFactory[Any], secrets: bytes) -> dict[str, Any]:
        """A bot's settings, secrets included, without those that an earlier version had."""
        stored = {**bot.config, **self._unseal(secrets)}
        return {field: value for field, value in stored.items() if field in factory.config_type.__struct_fields__}

    def _factory_of(self, bot: Bot) -> AdapterFactory[Any]:
        factory = self._factories.get(bot.adapter)
        if factory is None:
            raise BadRequest(f"Unknown adapter: {bot.adapter}", code="unknown_adapter")
        return factory

    def _seal(self, secrets: Mapping[str, Any]) -> bytes:
        return self._secrets.encrypt(msgspec.json.encode(secrets))

    def _unseal(self, secrets: bytes) -> dict[str, Any]:
        return msgspec.json.decode(self._secrets.decrypt(secrets), type=dict[str, Any])


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


def _schema_of(factory: AdapterFactory[Any]) -> dict[str, Any]:
    """Return the schema of an adapter's settings; those that are generated unless given are not required."""
    _, components = msgspec.json.schema_components([factory.config_type])
    schema: dict[str, Any] = components[factory.config_type.__name__]
    required = [field for field in schema["required"] if field not in factory.generate()]
    return {**schema, "required": required}


def _check_name(name: str) -> str:
    name = name.strip()
    if len(name) > MAX_NAME_CHARS or not re.fullmatch(NAME_PATTERN, name):
        raise BadRequest(f"name must be 1 to {MAX_NAME_CHARS} printable characters", code="invalid_request")
    return name
