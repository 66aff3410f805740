"""Identifiers."""

import uuid


def new_id() -> str:
    """A random UUID in its text form: cannot be guessed, so that knowing one means having been told it."""
    return str(uuid.uuid4())
