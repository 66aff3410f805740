"""The wire shapes of making, deleting and searching sessions."""

from typing import Annotated

import msgspec
from msgspec import Meta

from app.chat.fields import MAX_NAME_CHARS
from app.doors.open_api.schemas import Label, Name
from app.edge.schemas import example
from app.text import LINE_PATTERN


class SessionRequest(msgspec.Struct):
    """An empty session."""

    username: Annotated[Name, Meta(description="Whose session it is; trimmed.")]
    session_id: Annotated[str | None, Meta(description="Its id; left out, one is made.")] = None
    platform_id: Annotated[str | None, Meta(description="`webchat`.")] = None
    display_name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=LINE_PATTERN)] | None = None
    config_id: str | None = None
    labels: Annotated[list[Label], Meta(max_length=50, description="Its labels.")] = msgspec.field(default_factory=list)


class NewSession(msgspec.Struct):
    """A new session."""

    session_id: Annotated[str, example("0b9e6c7a-1d2e-4f3a-8b4c-5d6e7f8a9b0c")]
    platform_id: Annotated[str, example("webchat")]


class SessionBatch(msgspec.Struct):
    """Sessions to delete."""

    username: Annotated[Name, Meta(description="Whose sessions they are.")]
    session_ids: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]],
        Meta(min_length=1, max_length=100, description="The sessions' ids."),
    ]


class FailedSession(msgspec.Struct):
    """A session that was not deleted."""

    session_id: Annotated[str, example("s2")]
    reason: Annotated[str, Meta(description="The code of the error."), example("session_not_found")]


class DeletedSessions(msgspec.Struct):
    """How many sessions are gone, and which are not."""

    deleted_count: Annotated[int, Meta(description="How many are gone."), example(1)]
    failed_count: Annotated[int, Meta(description="How many are not."), example(1)]
    failed_items: Annotated[list[FailedSession], Meta(description="Those that are not.")]
