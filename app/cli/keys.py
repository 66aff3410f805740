"""`palaver keys`: API keys, while the server runs or not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from app.auth.scopes import Scope
from app.cli.errors import Refusal, refusing
from app.cli.folder import data_dir_option, prepare, upgrade
from app.settings import load_settings

if TYPE_CHECKING:
    from app.auth.models import ApiKey
    from app.auth.service import KeyService

T = TypeVar("T")

REVOKE_SECONDS = 60.0
"""How long a revocation is tried for, where the database takes no changes."""
RETRY_SECONDS = 1.0


@click.group()
def keys() -> None:
    """Make, list and end API keys, while the server runs or not."""


@keys.command("create")
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; once for each scope.",
)
@click.option("--username", help="The one user it may act as.")
@click.option("--expires-in-days", type=float, help="When it ends by itself.")
@data_dir_option
def create_key(
    name: str, scopes: tuple[str, ...], username: str | None, expires_in_days: float | None, data_dir: Path | None
) -> None:
    """Make a key, and print it: the only time that it is shown."""

    async def create(service: "KeyService") -> tuple["ApiKey", str]:
        return await service.create(name=name, scopes=scopes, username=username, expires_in_days=expires_in_days)

    key, text = _with_keys(data_dir, create)
    click.echo(f"Key {key.id} ({key.name}); it is shown this once:", err=True)
    click.echo(text)


@keys.command("list")
@data_dir_option
def list_keys(data_dir: Path | None) -> None:
    """List the keys, the newest first, without their texts."""
    from app.clock import utc_now

    now = utc_now()
    rows = [("ID", "STATUS", "NAME", "BEGINS WITH", "SCOPES", "USERNAME", "CREATED", "EXPIRES", "LAST USED")]
    rows.extend(
        (
            key.id,
            key.status(now),
            key.name,
            key.prefix,
            ",".join(key.sorted_scopes),
            key.username or "-",
            _minute(key.created_at),
            _minute(key.expires_at),
            _minute(key.last_used_at),
        )
        for key in _with_keys(data_dir, lambda service: service.list_keys())
    )
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command("revoke")
@click.argument("key_id")
@data_dir_option
def revoke_key(key_id: str, data_dir: Path | None) -> None:
    """End a key for good, at once; it stays in the list. Where the database is locked, try for a minute."""
    key = _with_keys(data_dir, lambda service: _patiently(lambda: service.revoke(key_id)))
    click.echo(f"Key {key.id} ({key.name}) is revoked")


@keys.command("rotate")
@click.argument("key_id")
@click.option("--overlap-seconds", type=float, default=0.0, help="How long the old text stays good too.  [0]")
@data_dir_option
def rotate_key(key_id: str, overlap_seconds: float, data_dir: Path | None) -> None:
    """Give a key a new text, and print it: the only time that it is shown."""
    overlap = _overlap(overlap_seconds)
    key, text = _with_keys(data_dir, lambda service: service.rotate(key_id, overlap=overlap))
    click.echo(f"Key {key.id} ({key.name}) has a new text, shown this once:", err=True)
    click.echo(text)


@keys.command("delete")
@click.argument("key_id")
@data_dir_option
def delete_key(key_id: str, data_dir: Path | None) -> None:
    """End a key at once and forget it."""
    _with_keys(data_dir, lambda service: service.delete(key_id))
    click.echo(f"Key {key_id} is deleted")


def _with_keys(data_dir: Path | None, use: "Callable[[KeyService], Awaitable[T]]") -> T:
    """Use the keys of the data folder, whose database is made or brought up to date first."""
    settings = load_settings(data_dir=data_dir)
    from app.core import open_core

    prepare(settings)
    upgrade(settings)

    async def run() -> T:
        with refusing("Cannot use the keys"):
            core = open_core(settings)
        try:
            await core.keys.open()
            return await use(core.keys)
        finally:
            await core.database.close()

    return asyncio.run(run())


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Do what may be done twice, again until the database takes it, or REVOKE_SECONDS are over."""
    from app.database.errors import DatabaseUnavailable

    end, is_first = time.monotonic() + REVOKE_SECONDS, True
    while True:
        try:
            return await act()
        except DatabaseUnavailable:
            if time.monotonic() >= end:
                raise
        if is_first:
            click.echo(f"The database takes no changes; trying for {REVOKE_SECONDS:.0f} seconds", err=True)
            is_first = False
        await asyncio.sleep(RETRY_SECONDS)


def _overlap(seconds: float) -> timedelta:
    from app.auth.service import MAX_OVERLAP

    if not 0 <= seconds <= MAX_OVERLAP.total_seconds():
        raise Refusal(f"--overlap-seconds must be between 0 and {MAX_OVERLAP.total_seconds():.0f}")
    return timedelta(seconds=seconds)


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M")
