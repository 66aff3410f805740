"""Statements whose SQL is compiled once, for what every message executes on SQLite.

SQLAlchemy's execution of a statement costs some 100,000 instructions, SQLite's own 30,000: with eleven statements in a
chat that is 17 % of its instructions. On other databases, where a statement is a round trip, SQLAlchemy executes it.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Insert, Select, Update, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from app.database.tables import ENGINE_OPTIONS

DRIVER = "sqlite_driver"
"""The option of a connection that holds the driver's own: SQLAlchemy's look-up takes four calls, and ten are needed."""
_DIALECT = sqlite.dialect(
    paramstyle="named",
    json_serializer=ENGINE_OPTIONS["json_serializer"],
    json_deserializer=ENGINE_OPTIONS["json_deserializer"],
)


class Prepared:
    """A statement with named parameters; `columns` are those that an insert is given values for.

    Raises the driver's errors.
    """

    def __init__(self, statement: Insert | Update | Select[Any], columns: Sequence[str] = ()) -> None:
        self._statement = statement
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        assert isinstance(compiled, SQLCompiler)
        self._sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._binds = {
            name: convert
            for name, parameter in compiled.binds.items()
            if (convert := _dialect_type(parameter.type).bind_processor(_DIALECT)) is not None
        }
        results = list(statement.exported_columns)
        self._row: Any = namedtuple("Row", [column.key for column in results])  # type: ignore[misc]
        self._converters = [_dialect_type(column.type).result_processor(_DIALECT, None) for column in results]

    def all(self, connection: Connection, params: Mapping[str, Any]) -> Sequence[Any]:
        """Execute the statement, and return its rows."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, params).all()
        return [
            self._row(
                *(
                    value if convert is None else convert(value)
                    for convert, value in zip(self._converters, row, strict=True)
                )
            )
            for row in self._execute(connection, params)
        ]

    def first(self, connection: Connection, params: Mapping[str, Any]) -> Any:
        """Execute the statement, and return its first row or None."""
        rows = self.all(connection, params)
        return rows[0] if rows else None

    def change(self, connection: Connection, params: Mapping[str, Any]) -> int:
        """Execute an insert or update, and return the number of rows."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, params).rowcount
        return self._execute(connection, params).rowcount

    def _execute(self, connection: Connection, params: Mapping[str, Any]) -> sqlite3.Cursor:
        values = {**self._constants, **params}
        for name, convert in self._binds.items():
            values[name] = convert(values[name])
        driver: sqlite3.Connection = connection.get_execution_options()[DRIVER]
        return driver.execute(self._sql, values)


def _dialect_type(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return kind.dialect_impl(_DIALECT)


def new_values(*columns: str) -> dict[str, BindParameter[Any]]:
    """Return parameters for an update: `new_status` for the column `status`, and so on."""
    return {column: bindparam(f"new_{column}") for column in columns}
