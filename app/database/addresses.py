"""The address of a database: whether it names one that Palaver can use, and how it is shown."""

from importlib.util import find_spec

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import OperatorError

_DRIVERS = {"sqlite+aiosqlite": "aiosqlite", "postgresql+asyncpg": "asyncpg"}


class WrongDatabase(OperatorError):
    """A database that cannot be used as it is."""


def check_url(url: str) -> URL:
    """Parse the URL of a database. Raises WrongDatabase, whose text has no password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise WrongDatabase(
            "The database's URL cannot be read; one is postgresql+asyncpg://user:password@host:5432/name, where other "
            "characters than letters and digits in a password are written as in any URL: %40 for @"
        ) from None
    if (driver := _DRIVERS.get(parsed.drivername)) is None:
        hint = "postgresql+asyncpg" if parsed.drivername.startswith("postgres") else " or ".join(sorted(_DRIVERS))
        raise WrongDatabase(f"The database's URL begins with {parsed.drivername}, and not with {hint}")
    if find_spec(driver) is None:
        raise WrongDatabase(f"{driver}, the driver for the database, is not installed: pip install 'palaver[postgres]'")
    return parsed


def shown(url: str) -> str:
    """Return the URL without its password."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)
