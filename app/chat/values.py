"""Sessions, messages and runs, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

WEBCHAT = "webchat"
KEYS_PREFIX = "v1:"
"""How the ids of sessions begin that belong to an API key: nobody else can make one in its name."""
API = "api"
"""The platforms of sessions: those begun in the Open API, and those begun in the doors that speak OpenAI's API."""


class MessageRole(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(StrEnum):
    """`PENDING` is the place kept for a reply that is being made: it is never shown."""

    PENDING = "pending"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    platform_id: str
    creator: str
    display_name: str | None
    is_group: int
    config_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is shown; `parts` are JSON objects (app.chat.parts), `refs` those of app.chat.runs.events.Ref."""

    id: int
    session_id: str
    run_id: str | None
    role: MessageRole
    status: MessageStatus
    parts: Sequence[Mapping[str, Any]]
    reasoning: str
    token_usage: Mapping[str, int] | None
    created_at: datetime
    refs: Sequence[Mapping[str, Any]] = ()


class Run(msgspec.Struct, frozen=True, gc=False):
    """A run as it was accepted, and as far as it has come; without a session it has no messages either.

    A struct of msgspec: with so many fields it is made in a tenth of a dataclass's time.
    """

    id: str
    session_id: str | None
    username: str
    key_id: str
    status: RunStatus
    streaming: bool
    user_message_id: int | None
    reply_message_id: int | None
    message_id: str
    config_id: str
    provider_id: str
    model: str
    error_code: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def session_of(row: Any) -> Session:
    return Session(
        id=row.id,
        platform_id=row.platform_id,
        creator=row.creator,
        display_name=row.display_name,
        is_group=row.is_group,
        config_id=row.config_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def message_of(row: Any) -> Message:
    return Message(
        id=row.id,
        session_id=row.session_id,
        run_id=row.run_id,
        role=MessageRole(row.role),
        status=MessageStatus(row.status),
        parts=row.parts,
        reasoning=row.reasoning,
        token_usage=row.token_usage,
        created_at=row.created_at,
        refs=row.refs or (),
    )


def run_of(row: Any) -> Run:
    return Run(
        id=row.id,
        session_id=row.session_id,
        username=row.username,
        key_id=row.key_id,
        status=RunStatus(row.status),
        streaming=row.streaming,
        user_message_id=row.user_message_id,
        reply_message_id=row.reply_message_id,
        message_id=row.message_id,
        config_id=row.config_id,
        provider_id=row.provider_id,
        model=row.model,
        error_code=row.error_code,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
