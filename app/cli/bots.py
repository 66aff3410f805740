"""`palaver bots`."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.errors import Refusal, refusing
from app.cli.folder import data_dir_option, prepare, upgrade
from app.settings import Settings, load_settings
from app.written import decode_utf8

if TYPE_CHECKING:
    from app.bots.adapters.http import Network
    from app.bots.importing import ImportedBot
    from app.bots.service import BotService
    from app.core import Core


@click.group()
def bots() -> None:
    """Check bots, and take those of an AstrBot over."""


@bots.command()
@click.argument("bot_id")
@data_dir_option
def check(bot_id: str, data_dir: Path | None) -> None:
    """Ask a bot's platform who the bot is. Nobody sees anything of it."""
    settings = load_settings(data_dir=data_dir)
    prepare(settings)
    upgrade(settings)
    click.echo(asyncio.run(_check(settings, bot_id)))


@bots.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@data_dir_option
def import_(file: Path, data_dir: Path | None) -> None:
    """Make the bots of an AstrBot's cmd_config.json. Those whose id is taken are left as they are.

    Nobody may talk to them until the operator says so: see `allow` and `pairing` in the documentation of bots.
    """
    settings = load_settings(data_dir=data_dir)
    try:
        document = json.loads(decode_utf8(file.read_bytes()).removeprefix("\ufeff"))
    except OSError as error:
        raise Refusal(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refusal(f"{file} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refusal(f"{file} is not AstrBot's: it is no object")
    prepare(settings)
    upgrade(settings)
    failures = asyncio.run(_import(settings, file, document))
    if failures:
        raise Refusal(f"{failures} of the bots were not made")


async def _check(settings: Settings, bot_id: str) -> str:
    from app.errors import AppError

    core, service = _open(settings)
    try:
        identity = await service.check(bot_id)
    except AppError as error:
        raise Refusal(error.message) from None
    finally:
        await service.close()
        await core.database.close()
    return f"{identity.name} ({identity.id})"


async def _import(settings: Settings, file: Path, document: dict[str, object]) -> int:
    from app.bots.importing import bots_of
    from app.bots.platforms import platform_factories
    from app.errors import AppError

    try:
        imported = bots_of(document, platform_factories(_network(settings)))
    except ValueError as error:
        raise Refusal(f"{file} is not AstrBot's: {error}") from None
    core, service = _open(settings)
    failures = 0
    try:
        for bot in imported:
            try:
                click.echo(await _make(service, bot))
            except AppError as error:
                failures += 1
                click.echo(f"{bot.id}: {error.message}", err=True)
    finally:
        await service.close()
        await core.database.close()
    return failures


async def _make(service: "BotService", bot: "ImportedBot") -> str:
    """Make a bot; a line about it. Raises AppError."""
    from app.errors import BadRequest

    if bot.problem is not None:
        raise BadRequest(bot.problem)
    made, secrets = await service.create(id=bot.id, adapter=bot.adapter, config=bot.config, enabled=bot.enabled)
    line = f"{made.id}: {made.adapter}, {'enabled' if made.enabled else 'disabled'}"
    for name, secret in secrets.items():
        line += f"; its {name} is {secret}"
    return line + (f"; left out: {', '.join(bot.dropped)}" if bot.dropped else "")


def _open(settings: Settings) -> "tuple[Core, BotService]":
    from app.bots.platforms import platform_factories
    from app.bots.service import BotService
    from app.core import open_core

    with refusing("Cannot use the data folder"):
        core = open_core(settings)
    factories = platform_factories(_network(settings))
    return core, BotService(core.database, core.secrets, factories=factories, builtin={})


def _network(settings: Settings) -> "Network":
    from app.bots.adapters.http import Network

    return Network(allow_private=settings.webhook_allow_private)
