"""The command line: `palaver serve | keys | db | openapi`.

Answers go to standard output, everything else to standard error. What the operator can put right is one line and exit
code 1, without a traceback. The application is imported by the commands that need it, so that the others are quick.
"""

import asyncio
import gc
import os
import shlex
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app import __version__
from app.auth.scopes import Scope
from app.errors import AppError
from app.settings import Settings, WrongSettings, load_settings

if TYPE_CHECKING:
    from quart import Quart

    from app.auth.models import ApiKey
    from app.auth.service import KeyService

OPENAPI_FILE = Path("openapi.json")
# There while a restore is being carried out; app.backup is imported only by those who find it.
RESTORE_JOURNAL = "restore.json"

T = TypeVar("T")
Command = Callable[..., Any]


class Refusal(click.ClickException):
    """One line on standard error, and exit code 1."""

    def format_message(self) -> str:
        return " ".join(self.message.split())


class Commands(click.Group):
    """A group whose commands end in one line when something is wrong that the operator can put right."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (WrongSettings, AppError) as error:
            raise Refusal(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palaver")
def main() -> None:
    """Palaver: a self-hosted Open API for chat bots.

    Settings come from the options below, the environment (PALAVER_...), and palaver.toml in the data folder.
    """
    # The data folder holds keys and conversations: what is made in it is for its owner only.
    os.umask(0o077)


def data_dir_option(command: Command) -> Command:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="The folder for everything that Palaver keeps.  [PALAVER_DATA_DIR, or data]",
    )(command)


@main.command()
@click.option("--host", help="The address to listen on.  [PALAVER_HOST, or 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks a free one.  [PALAVER_PORT, or 6185]")
@data_dir_option
@click.option("--no-auth", is_flag=True, default=None, help="Serve everyone without a key; on loopback only.")
@click.option(
    "--server",
    type=click.Choice(["hypercorn", "uvicorn"]),
    help="The ASGI server; uvicorn is faster, and an extra.  [PALAVER_SERVER, or hypercorn]",
)
def serve(**given: Any) -> None:
    """Run the server."""
    # All that the start makes stays, and to look for garbage in it takes a sixth of the start.
    gc.disable()
    settings = load_settings(**given)
    from app.server import run
    from app.server.options import LifespanFailed
    from app.telemetry.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format, secrets=settings.secret_texts())
    try:
        addresses = run.resolve(settings.host, settings.port)
        if settings.no_auth and not all(address.is_loopback for address in addresses):
            raise Refusal(f"--no-auth serves everyone who can connect: it needs a loopback host, not {settings.host}")
        _serve(settings, addresses)
    except run.CannotServe as error:
        raise Refusal(str(error)) from error
    except LifespanFailed as error:
        raise Refusal(f"Palaver could not start or end in good order: {error}") from error


def _serve(settings: Settings, addresses: list[Any]) -> None:
    from app.bootstrap import create_app
    from app.server import run
    from app.server.options import ServerOptions
    from app.server.welcome import local_url, welcome

    _prepare(settings)
    with _hold(settings):
        sockets = run.listen(addresses)
        url = local_url(settings.host, sockets[0])
        _upgrade(settings)
        with _plainly("Cannot start"):
            app = create_app(settings)

        async def on_ready() -> None:
            click.echo(
                await welcome(app, url, settings.data_dir.absolute(), _command(settings), open_to_all=settings.no_auth)
            )
            sys.stdout.flush()

        async def on_stop() -> None:
            await _say_goodbye(app, settings.drain_seconds)

        options = ServerOptions(max_websocket_bytes=settings.max_body_bytes)
        run.run(app, sockets, settings.server, options, on_ready=on_ready, on_stop=on_stop)


def _hold(settings: Settings) -> AbstractContextManager[object]:
    """The embedded database's lock, held: one server at a time may use it. An external one takes many servers."""
    from filelock import Timeout

    from app.core import data_dir_lock, database_url_of

    if not database_url_of(settings).startswith("sqlite"):
        return nullcontext()
    try:
        return data_dir_lock(settings).acquire(timeout=0)
    except Timeout:
        raise Refusal(f"Another palaver serve uses the data folder {settings.data_dir}") from None
    except OSError as error:
        raise Refusal(_folder_problem(settings, error)) from error


async def _say_goodbye(app: "Quart", drain_seconds: float) -> None:
    """Let the replies that are being made come to their end, and with them the streams that show them."""
    from app.chat.runs.engine import RunEngine
    from app.doors.open_api.websocket import Sockets
    from app.edge.services import service

    click.echo("Stopping ...", err=True)
    async with app.app_context():
        engine, sockets = service(RunEngine), service(Sockets)
    await engine.close(drain_seconds)
    sockets.go_down()


def _command(settings: Settings) -> str:
    """How to call this command from here, and for this data folder."""
    name = "palaver" if shutil.which("palaver") else shlex.quote(sys.argv[0])
    folder = str(settings.data_dir)
    known = folder == os.environ.get("PALAVER_DATA_DIR", "data")
    return name if known else f"PALAVER_DATA_DIR={shlex.quote(folder)} {name}"


# The data folder


def _folder_problem(settings: Settings, error: OSError) -> str:
    return f"Cannot use the data folder {settings.data_dir}: {error.strerror or error}"


def _prepare(settings: Settings) -> None:
    from app.core import prepare_data_dir

    try:
        prepare_data_dir(settings)
    except FileExistsError:
        raise Refusal(f"Cannot use the data folder {settings.data_dir}: it is a file") from None
    except OSError as error:
        raise Refusal(_folder_problem(settings, error)) from error
    if (settings.data_dir / RESTORE_JOURNAL).exists():
        from app.backup import finish_restore

        with _hold(settings), _plainly("Cannot finish the restore that was cut off"):
            finish_restore(settings.data_dir)


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """One line for settings and files that the application cannot use."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Refusal(f"{what}: {error}") from error


def _upgrade(settings: Settings) -> bool:
    """Bring the database to this version's schema; False when it was there."""
    from app.core import database_url_of
    from app.database.migrations import WrongSchema, upgrade

    try:
        return upgrade(database_url_of(settings))
    except WrongSchema as error:
        raise Refusal(str(error)) from error
    except sqlite3.Error as error:
        raise Refusal(f"Cannot use the database of {settings.data_dir}: {error}") from error


# Keys


@main.group()
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
    """End a key for good, at once; it stays in the list."""
    key = _with_keys(data_dir, lambda service: service.revoke(key_id))
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
    """What `use` answers for the keys of the data folder, whose database is made or brought up to date first."""
    settings = load_settings(data_dir=data_dir)
    from app.core import open_core

    _prepare(settings)
    _upgrade(settings)

    async def run() -> T:
        with _plainly("Cannot use the data folder"):
            core = open_core(settings)
        try:
            return await use(core.keys)
        finally:
            await core.database.close()

    return asyncio.run(run())


def _overlap(seconds: float) -> timedelta:
    from app.auth.service import MAX_OVERLAP

    if not 0 <= seconds <= MAX_OVERLAP.total_seconds():
        raise Refusal(f"--overlap-seconds must be between 0 and {MAX_OVERLAP.total_seconds():.0f}")
    return timedelta(seconds=seconds)


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


# The database and the document


@main.group()
def db() -> None:
    """Look after the database."""


@db.command("upgrade")
@data_dir_option
def upgrade_database(data_dir: Path | None) -> None:
    """Bring the database to this version's schema; `serve` does it for the embedded one."""
    settings = load_settings(data_dir=data_dir)
    from app.database.migrations import head

    _prepare(settings)
    changed = _upgrade(settings)
    click.echo(f"The database is {'now' if changed else 'already'} at revision {head()}")


@db.command("check")
@data_dir_option
def check_database(data_dir: Path | None) -> None:
    """Check the database: its schema is this version's, and nothing in it is damaged."""
    settings = load_settings(data_dir=data_dir)
    from app.core import database_url_of
    from app.database.migrations import head, problems

    found = problems(database_url_of(settings))
    for problem in found:
        click.echo(problem, err=True)
    if found:
        raise click.exceptions.Exit(1)
    click.echo(f"The database is sound, and at revision {head()}")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@data_dir_option
def back_up(file: Path, data_dir: Path | None) -> None:
    """Back the data folder up into FILE, while the server runs or not: the database, attachments, profiles and keys."""
    settings = _with_own_database(load_settings(data_dir=data_dir))
    from app.backup import BackupError, back_up

    try:
        report = back_up(settings.data_dir, file, with_attachments=settings.storage_url is None)
    except BackupError as error:
        raise Refusal(str(error)) from error
    click.echo(f"{file} holds a database of {report.database_bytes} bytes and {report.attachments} attachments")
    if settings.storage_url is not None:
        click.echo("It does not hold the attachments, which are not kept in the data folder", err=True)
    if report.missing:
        click.echo(f"{report.missing} attachments have no bytes in the data folder", err=True)
    said = "It holds the master key: keep it like one" if report.has_key else "It does not hold PALAVER_SECRET_KEY"
    click.echo(said, err=True)


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--force", is_flag=True, help="Put it in the place of the data that is there, which is kept aside.")
@data_dir_option
def restore(file: Path, force: bool, data_dir: Path | None) -> None:
    """Put the backup in FILE into the data folder, which no server may be using."""
    settings = _with_own_database(load_settings(data_dir=data_dir))
    from app.backup import BackupError, restore

    _prepare(settings)
    with _hold(settings):
        try:
            restored = restore(settings.data_dir, file, force=force)
        except BackupError as error:
            raise Refusal(str(error)) from error
    click.echo(f"{settings.data_dir} is as it was on {restored.manifest.created_at:%Y-%m-%d %H:%M:%S} UTC")
    if restored.before is not None:
        click.echo(f"What was there before is in {restored.before}: remove it when it is not needed", err=True)


def _with_own_database(settings: Settings) -> Settings:
    if settings.database_url is not None:
        raise Refusal("Backups are of the embedded database; PALAVER_DATABASE_URL's has tools of its own")
    return settings


@main.command()
@click.option("--check", is_flag=True, help="Compare with ./openapi.json instead of printing.")
def openapi(check: bool) -> None:
    """Print the OpenAPI document."""
    from app.bootstrap import EVENT_SCHEMAS, create_app
    from app.edge.openapi import build_document, render

    # The document is the same whatever the settings: these are the defaults, on a folder that is gone afterwards.
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings.model_construct(data_dir=Path(folder)))
        document = render(build_document(app, EVENT_SCHEMAS))
    if not check:
        click.echo(document, nl=False)
    elif not OPENAPI_FILE.is_file() or OPENAPI_FILE.read_text(encoding="utf-8") != document:
        raise Refusal(f"{OPENAPI_FILE} is not what the routes say: make openapi")
    else:
        click.echo(f"{OPENAPI_FILE} is up to date")
