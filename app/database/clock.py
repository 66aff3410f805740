"""The database's own time: several servers' clocks differ, and leases are compared between servers."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.database.tables import UtcDateTime


class moment_in(FunctionElement[datetime]):  # noqa: N801 - used as SQLAlchemy's functions are
    """The database's time some time from now, as a value of a UtcDateTime."""

    inherit_cache = False
    type = UtcDateTime()

    def __init__(self, distance: timedelta = timedelta()) -> None:
        super().__init__()
        self.seconds = distance.total_seconds()


@compiles(moment_in)
def _of_postgresql(element: moment_in, _compiler: SQLCompiler, **_options: Any) -> str:
    return f"(clock_timestamp() + interval '{element.seconds} seconds')"


@compiles(moment_in, "sqlite")
def _of_sqlite(element: moment_in, _compiler: SQLCompiler, **_options: Any) -> str:
    # As SQLAlchemy writes a datetime, so that texts compare as times do.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{element.seconds:+} seconds')"
