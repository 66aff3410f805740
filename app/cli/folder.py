"""The data folder that a command works on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from app.backup.layout import JOURNAL
from app.cli.errors import Refusal, refusing
from app.settings import Settings

Command = Callable[..., Any]


def data_dir_option(command: Command) -> Command:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="The folder for everything that Palaver keeps.  [PALAVER_DATA_DIR, or data]",
    )(command)


def prepare(settings: Settings) -> None:
    """Make the data folder, and finish a restore that was cut off."""
    from app.core import prepare_data_dir

    try:
        prepare_data_dir(settings)
    except FileExistsError:
        raise Refusal(f"Cannot use the data folder {settings.data_dir}: it is a file") from None
    except OSError as error:
        raise _unusable(settings, error) from error
    if (settings.data_dir / JOURNAL).exists():
        from app.backup.restore import finish_restore

        with lock(settings), refusing("Cannot finish the restore that was cut off"):
            finish_restore(settings.data_dir)


def lock(settings: Settings) -> AbstractContextManager[object]:
    """Lock the embedded database: one server at a time may use it. An external one takes many servers."""
    from filelock import Timeout

    from app.core import data_dir_lock, database_url_of

    if not database_url_of(settings).startswith("sqlite"):
        return nullcontext()
    try:
        return data_dir_lock(settings).acquire(timeout=0)
    except Timeout:
        raise Refusal(f"Another palaver serve uses the data folder {settings.data_dir}") from None
    except OSError as error:
        raise _unusable(settings, error) from error


def upgrade(settings: Settings) -> bool:
    """Bring the database to this version's schema; returns False for one that has it."""
    from app.core import database_url_of
    from app.database import migrations

    with refusing_database(settings):
        check_place(settings)
        return migrations.upgrade(database_url_of(settings))


def refusing_database(settings: Settings) -> AbstractContextManager[None]:
    """Turn the errors of a database that cannot be used into a Refusal."""
    name = f"the database of {settings.data_dir}" if settings.database_url is None else "PALAVER_DATABASE_URL"
    return refusing(f"Cannot use {name}")


def check_place(settings: Settings) -> None:
    """Raise FileNotFoundError when a SQLite database is to be in a folder that does not exist, WrongDatabase."""
    from app.core import database_url_of
    from app.database.addresses import check_url

    url = check_url(database_url_of(settings))
    if settings.database_url is None:  # in the data folder, which is made
        return
    if url.drivername.startswith("sqlite") and url.database and not Path(url.database).absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(url.database).absolute().parent}")


def _unusable(settings: Settings, error: OSError) -> Refusal:
    return Refusal(f"Cannot use the data folder {settings.data_dir}: {error.strerror or error}")
