"""Sessions, messages and runs, as values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

WEBCHAT = "webchat"
"""The platform of sessions that begin in the Open API."""
API = "api"
"""The platform of sessions that begin in the doors that speak OpenAI's API."""
BOT_KEYS_PREFIX = "bot:"
"""The prefix of the key ids under which bots act."""
IM_PREFIX = "im:"
"""The prefix of the ids of sessions that begin in a bot's chats."""
KEYS_PREFIX = "v1:"
"""The prefix of session ids that belong to an API key: no other client can make one in its name."""


class MessageRole(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(StrEnum):
    """`PENDING` reserves the place of a reply that is being made; it is never shown."""

    PENDING = "pending"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    REQUIRES_ACTION = "requires_action"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.REQUIRES_ACTION)


class Session(msgspec.Struct, frozen=True, gc=False):
    id: str
    platform_id: str
    creator: str
    display_name: str | None
    is_group: int
    config_id: str | None
    created_at: datetime
    updated_at: datetime
    labels: tuple[str, ...] = ()
    pinned: bool = False


class SessionFilter(msgspec.Struct, frozen=True):
    """Which of a user's sessions to list; what is None admits all.

    `search` is a part of the title; `before` are the time and the id of the last session of the page before.
    """

    platform_id: str | None = None
    search: str | None = None
    label: str | None = None
    pinned: bool | None = None
    updated_after: datetime | None = None
    before: tuple[datetime, str] | None = None
    id_prefix: str | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the number of such sessions is kept, and needs no counting."""
        fields = (self.search, self.label, self.pinned, self.updated_after, self.id_prefix)
        return all(field is None for field in fields)


class Message(msgspec.Struct, frozen=True):
    """A message as it is shown; `parts` are JSON objects (app.chat.parts), `refs` those of app.chat.runs.events.Ref.

    `parent_id` is the message before it, `alternatives` are the others with the same one. Those `on_path` are the
    conversation.
    """

    id: int
    session_id: str
    run_id: str | None
    role: MessageRole
    status: MessageStatus
    parts: Sequence[Mapping[str, Any]]
    reasoning: str
    token_usage: Mapping[str, int] | None
    created_at: datetime
    refs: Sequence[Mapping[str, Any]] | None = None
    parent_id: int | None = None
    on_path: bool = True
    alternatives: Sequence[int] = ()


class Run(msgspec.Struct, frozen=True, gc=False):
    """The making of one reply, at the server `owner`. Without a session it has no messages either.

    One that waits in a queue that is in the database has a `place` in it. `reservation` is what it has reserved of its
    key's limits, None for a key without.
    """

    id: str
    session_id: str | None
    username: str
    key_id: str
    status: RunStatus
    streaming: bool
    message_id: str
    config_id: str
    provider_id: str
    model: str
    created_at: datetime
    user_message_id: int | None = None
    reply_message_id: int | None = None
    error_code: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    owner: str = ""
    place: int | None = None
    reservation: Mapping[str, Any] | None = None
