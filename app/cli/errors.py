"""Errors that the operator can correct: one line on standard error, and exit code 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from app.errors import AppError, OperatorError


class Refusal(click.ClickException):
    """One line on standard error, and exit code 1."""

    def format_message(self) -> str:
        return " ".join(self.message.split())


class Commands(click.Group):
    """A group whose commands turn errors with a text for people into a Refusal."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (OperatorError, AppError) as error:
            raise Refusal(str(error)) from error


@contextmanager
def refusing(problem: str) -> Iterator[None]:
    """Turn the errors of unusable settings, files and databases into a Refusal."""
    try:
        yield
    except (OperatorError, AppError):
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise Refusal(f"{problem}: {reason}") from error


def _reason(error: Exception) -> str | None:
    """The reason that the operator can correct; None for other errors. What it says has no password."""
    import sqlite3

    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    if isinstance(error, DBAPIError):
        # asyncpg's adapter puts the class before the text.
        return str(error.orig).partition(">: ")[2] or str(error.orig)
    if isinstance(error, SQLAlchemyError):
        return str(error.args[0])
    if isinstance(error, TimeoutError):
        return str(error) or "it does not answer"
    return str(error) if isinstance(error, OSError | ValueError | ImportError | sqlite3.Error) else None
