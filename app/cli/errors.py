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
    """Turn the application's errors for unusable settings and files into a Refusal."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Refusal(f"{problem}: {error}") from error
