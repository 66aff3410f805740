"""Bots in the database: functions of a connection. A bot's secrets are stored beside it, encrypted."""

from msgspec import structs
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.bots.models import Bot, BotRow
from app.database.tables import value_of
from app.errors import Conflict, NotFound

_INSERT = insert(BotRow)
_UPDATE = update(BotRow).where(BotRow.id == bindparam("bot_id"))
_DELETE = delete(BotRow).where(BotRow.id == bindparam("bot_id"))
_GET = select(BotRow).where(BotRow.id == bindparam("bot_id"))
_GET_FOR_UPDATE = _GET.with_for_update()
_LIST = select(BotRow).order_by(BotRow.id)


def add_bot(connection: Connection, bot: Bot, secrets: bytes) -> None:
    """Raises Conflict for a second bot of one id."""
    try:
        connection.execute(_INSERT, {**structs.asdict(bot), "secrets": secrets})
    except IntegrityError:
        raise Conflict(f"Bot already exists: {bot.id}", code="bot_exists") from None


def find_bot(connection: Connection, bot_id: str, *, for_update: bool = False) -> tuple[Bot, bytes] | None:
    """Find a bot and its secrets; `for_update` locks it, where the database has more than one writer."""
    query = _GET_FOR_UPDATE if for_update else _GET
    row = None if "\0" in bot_id else connection.execute(query, {"bot_id": bot_id}).first()
    return None if row is None else (value_of(Bot, row), row.secrets)


def get_bot(connection: Connection, bot_id: str, *, for_update: bool = False) -> tuple[Bot, bytes]:
    """As `find_bot`. Raises NotFound."""
    match = find_bot(connection, bot_id, for_update=for_update)
    if match is None:
        raise NotFound("Bot not found", code="bot_not_found")
    return match


def list_bots(connection: Connection) -> list[Bot]:
    """List all bots by id."""
    return [value_of(Bot, row) for row in connection.execute(_LIST)]


def save_bot(connection: Connection, bot: Bot, secrets: bytes) -> None:
    connection.execute(_UPDATE, {"bot_id": bot.id, **structs.asdict(bot), "secrets": secrets})


def rename_config(connection: Connection, config_id: str, new_id: str) -> None:
    """Have the bots of a profile follow it to its new id."""
    for row in connection.execute(_LIST.with_for_update()).all():
        if row.config.get("config_id") == config_id:
            config = {**row.config, "config_id": new_id}
            connection.execute(_UPDATE.values(config=config), {"bot_id": row.id})


def delete_bot(connection: Connection, bot_id: str) -> None:
    """Raises NotFound."""
    bot, _ = get_bot(connection, bot_id, for_update=True)
    connection.execute(_DELETE, {"bot_id": bot.id})
