"""`palaver db`: the database, and backups of the data folder."""

from pathlib import Path

import click

from app.cli.errors import Refusal, refusing
from app.cli.folder import check_place, data_dir_option, lock, prepare, refusing_database, upgrade
from app.settings import Settings, load_settings


@click.group()
def db() -> None:
    """Look after the database."""


@db.command("upgrade")
@data_dir_option
def upgrade_database(data_dir: Path | None) -> None:
    """Bring the database to this version's schema; `serve` does it for the embedded one."""
    settings = load_settings(data_dir=data_dir)
    from app.database.migrations import head

    prepare(settings)
    changed = upgrade(settings)
    click.echo(f"The database is {'now' if changed else 'already'} at revision {head()}")


@db.command("downgrade")
@click.argument("revision", required=False)
@data_dir_option
def downgrade_database(revision: str | None, data_dir: Path | None) -> None:
    """Bring the schema back to REVISION, or to the one before: with this version's command, for an older version.

    What only the newer schema can hold is lost. Make a backup first.
    """
    settings = load_settings(data_dir=data_dir)
    from app.core import database_url_of
    from app.database.migrations import downgrade

    prepare(settings)
    with lock(settings), refusing_database(settings):
        check_place(settings)
        there = downgrade(database_url_of(settings), revision)
    click.echo(f"The database is now at revision {there}")


@db.command("check")
@data_dir_option
def check_database(data_dir: Path | None) -> None:
    """Check the database: its schema is this version's, and nothing in it is damaged. All of it is read."""
    settings = load_settings(data_dir=data_dir)
    from app.core import database_url_of
    from app.database.checking import problems
    from app.database.migrations import head

    with refusing_database(settings):
        check_place(settings)
        faults = problems(database_url_of(settings))
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise click.exceptions.Exit(1)
    click.echo(f"The database is sound, and at revision {head()}")


@db.command("adopt-key")
@data_dir_option
def adopt_key(data_dir: Path | None) -> None:
    """Go on with the present master key where the database's is lost; API keys and bots' secrets are lost with it."""
    settings = load_settings(data_dir=data_dir)
    import asyncio

    from app.auth.master_key import adopt_master_key
    from app.core import open_core

    prepare(settings)
    with lock(settings):
        upgrade(settings)

        async def adopt() -> None:
            with refusing("Cannot use the data folder"):
                core = open_core(settings)
            try:
                await adopt_master_key(core.database, core.secrets)
            finally:
                await core.database.close()

        asyncio.run(adopt())
    click.echo("The database is used with this master key from now on")
    click.echo("Make new API keys, and give the bots their secrets again", err=True)


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@data_dir_option
def back_up(file: Path, data_dir: Path | None) -> None:
    """Back the data folder up into FILE, while the server runs or not: the database, attachments, profiles and keys."""
    settings = _with_own_database(load_settings(data_dir=data_dir))
    from app.backup.create import back_up

    report = back_up(settings.data_dir, file, with_attachments=settings.storage_url is None)
    click.echo(f"{file} holds a database of {report.database_bytes} bytes and {report.attachments} attachments")
    if settings.storage_url is not None:
        click.echo("It does not hold the attachments, which are not kept in the data folder", err=True)
    if report.missing:
        click.echo(f"{report.missing} attachments have no bytes in the data folder", err=True)
    hint = "It holds the master key: keep it like one" if report.has_key else "It does not hold PALAVER_SECRET_KEY"
    click.echo(hint, err=True)


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--force", is_flag=True, help="Put it in the place of the data that is there, which is kept aside.")
@data_dir_option
def restore(file: Path, force: bool, data_dir: Path | None) -> None:
    """Put the backup in FILE into the data folder, which no server may be using."""
    settings = _with_own_database(load_settings(data_dir=data_dir))
    from app.backup.restore import restore

    prepare(settings)
    with lock(settings):
        restored = restore(settings.data_dir, file, force=force)
    click.echo(f"{settings.data_dir} is as it was on {restored.manifest.created_at:%Y-%m-%d %H:%M:%S} UTC")
    if restored.before is not None:
        click.echo(f"What was there before is in {restored.before}: remove it when it is not needed", err=True)


def _with_own_database(settings: Settings) -> Settings:
    if settings.database_url is not None:
        raise Refusal("Backups are of the embedded database; PALAVER_DATABASE_URL's has tools of its own")
    return settings
