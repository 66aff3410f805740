"""Statements that are finished beforehand: SQLAlchemy makes their text and knows their types, SQLite is given the text.

SQLAlchemy's Core costs some 40 us for each statement that it executes, SQLite about 3. What every message needs is
therefore compiled once. On other databases, and on connections of other drivers, Core executes the same statement.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from app.database.sqlite import from_json_text, run_text, to_json_text

_DIALECT = sqlite.dialect(json_serializer=to_json_text, json_deserializer=from_json_text)

_Convert = Callable[[Any], Any]


class PreparedStatement:
    """An insert, update or select whose text is made once.

    `columns` are those that an insert or update is given values for. Parameters are named for these columns, and for
    the statement's bindparams. Raises what SQLAlchemy raises: IntegrityError, OperationalError.
    """

    def __init__(self, statement: Insert | Update | Select[Any], columns: Sequence[str] = ()) -> None:
        self._core = statement
        compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(columns) if columns else None)
        unset = [column.name for column in (*compiled.insert_prefetch, *compiled.update_prefetch)]
        if unset:
            raise ValueError(f"columns with a default of Python's must be given: {unset}")
        self._sql = str(compiled)
        constants: Mapping[str, Any] = compiled.construct_params(_check=False)
        self._binds = [_bind(name, compiled.binds[name], constants) for name in compiled.positiontup or ()]
        shown = list(statement.exported_columns)
        self._row: Any = namedtuple("Row", [column.key for column in shown])  # type: ignore[misc]
        self._results = [_converter(column.type, "result_processor", _DIALECT, None) for column in shown]

    def all(self, connection: Connection, **params: Any) -> list[Any]:
        """The rows, or what an insert returns."""
        if not _is_plain(connection):
            return list(connection.execute(self._core, params))
        return self._rows(self._execute(connection, params))

    def first(self, connection: Connection, **params: Any) -> Any:
        """The first row, or None."""
        rows = self.all(connection, **params)
        return rows[0] if rows else None

    def change(self, connection: Connection, **params: Any) -> int:
        """How many rows were inserted or changed."""
        if not _is_plain(connection):
            return connection.execute(self._core, params).rowcount
        return self._execute(connection, params).rowcount

    def insert_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Insert rows that get neighbouring ids; what each returns, in their order."""
        if not _is_plain(connection):
            assert isinstance(self._core, Insert)
            ordered = self._core.returning(sort_by_parameter_order=True)
            return list(connection.execute(ordered, list(rows)))
        return [row for params in rows for row in self._rows(self._execute(connection, params))]

    def _execute(self, connection: Connection, params: Mapping[str, Any]) -> sqlite3.Cursor:
        values = [
            constant if name is None else params[name] if convert is None else convert(params[name])
            for name, convert, constant in self._binds
        ]
        return run_text(connection, self._sql, values)

    def _rows(self, cursor: sqlite3.Cursor) -> list[Any]:
        make, converters = self._row._make, self._results
        return [
            make(value if convert is None else convert(value) for convert, value in zip(converters, row, strict=True))
            for row in cursor.fetchall()
        ]


def _is_plain(connection: Connection) -> bool:
    return connection.dialect.driver == "pysqlite"


def _bind(name: str, parameter: Any, constants: Mapping[str, Any]) -> tuple[str | None, _Convert | None, Any]:
    """The parameter's name and converter; without a name, the value that it always has."""
    convert = _converter(parameter.type, "bind_processor", _DIALECT)
    if parameter.required:
        return name, convert, None
    constant = constants[name]
    return None, None, constant if convert is None else convert(constant)


def _converter(kind: TypeEngine[Any], direction: str, *arguments: Any) -> _Convert | None:
    convert: _Convert | None = getattr(kind.dialect_impl(_DIALECT), direction)(*arguments)
    return convert
