"""A session with its messages and its replies under way, in the shape of AstrBot's later API."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.parts import to_stored
from app.chat.schemas import MessageRef, StoredPart
from app.chat.service import ActiveRun
from app.chat.values import Message, MessageRole, Session
from app.doors.open_api.schemas import RUN_ID, ChatSessionItem
from app.edge.schemas import DateTime, example, shape_of

HISTORY_LIMIT = 1_000


class HistoryContent(msgspec.Struct):
    """What a message says."""

    type: Annotated[Literal["user", "bot"], Meta(description="Whose message it is."), example("bot")]
    message: Annotated[list[StoredPart], Meta(description="The parts."), example([{"type": "plain", "text": "Hello!"}])]
    reasoning: str | UnsetType = UNSET
    refs: list[MessageRef] | UnsetType = UNSET


class HistoryMessage(msgspec.Struct):
    """A message of the path, as AstrBot shows it."""

    id: Annotated[int, example(2)]
    platform_id: Annotated[str, example("webchat")]
    user_id: Annotated[str, Meta(description="The session's id."), example("s1")]
    content: HistoryContent
    sender_id: Annotated[str, Meta(description="The user, or `bot`."), example("bot")]
    sender_name: Annotated[str, Meta(description="The same."), example("bot")]
    created_at: DateTime
    updated_at: DateTime
    llm_checkpoint_id: Annotated[str | None, Meta(description="The run that the message belongs to."), example(RUN_ID)]


class SessionRun(msgspec.Struct):
    """A reply that is made or waits, with its text so far."""

    run_id: Annotated[str, example(RUN_ID)]
    session_id: Annotated[str, example("s1")]
    status: Annotated[
        Literal["queued", "running", "requires_action"], Meta(description="How far it has come."), example("running")
    ]
    revision: Annotated[int, Meta(description="The number of its last event so far."), example(3)]
    content: HistoryContent
    llm_checkpoint_id: Annotated[str | None, Meta(description="The same as `run_id`."), example(RUN_ID)]


class ChatSessionDetail(ChatSessionItem):
    """A session, its newest messages, the oldest of them first, and the replies that are made or wait."""

    history: Annotated[list[HistoryMessage], Meta(description="The path's last 1,000 messages.")] = msgspec.field(
        default_factory=list
    )
    threads: Annotated[list[dict[str, Any]], Meta(description="Always empty.")] = msgspec.field(default_factory=list)
    is_running: Annotated[bool, Meta(description="Whether a reply is made or waits.")] = False
    active_runs: Annotated[list[SessionRun], Meta(description="Those replies, in their order.")] = msgspec.field(
        default_factory=list
    )


def detail_of(session: Session, messages: Sequence[Message], runs: Sequence[ActiveRun]) -> ChatSessionDetail:
    """Make the detail of a session; `messages` are the newest first."""
    return shape_of(
        ChatSessionDetail,
        session,
        session_id=session.id,
        history=[_history(session, message) for message in reversed(messages)],
        threads=[],
        is_running=bool(runs),
        active_runs=[_run(session, run) for run in runs],
    )


def _history(session: Session, message: Message) -> HistoryMessage:
    is_users = message.role is MessageRole.USER
    sender = session.creator if is_users else "bot"
    content = _content("user" if is_users else "bot", message.parts, message.reasoning, message.refs)
    return shape_of(
        HistoryMessage,
        message,
        platform_id=session.platform_id,
        user_id=session.id,
        content=content,
        sender_id=sender,
        sender_name=sender,
        updated_at=message.created_at,
        llm_checkpoint_id=message.run_id,
    )


def _run(session: Session, active: ActiveRun) -> SessionRun:
    content = _content("bot", to_stored(active.content.parts), active.content.reasoning, None)
    run = active.run
    return SessionRun(run.id, session.id, active.status.value, active.revision, content, run.id)  # type: ignore[arg-type]


def _content(
    kind: Literal["user", "bot"],
    parts: Sequence[Mapping[str, Any]],
    reasoning: str,
    refs: Sequence[Mapping[str, Any]] | None,
) -> HistoryContent:
    return msgspec.convert(
        {
            "type": kind,
            "message": list(parts),
            **({"reasoning": reasoning} if reasoning else {}),
            **({"refs": refs} if refs else {}),
        },
        HistoryContent,
    )
