"""The wire shapes of turns."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.chat.fields import MAX_COLLECTIONS
from app.chat.schemas import MessageContent
from app.doors.open_api.schemas import ChatMessage, Name
from app.edge.schemas import example
from app.tools.models import MAX_TOOLS

Username = Annotated[Name | None, Meta(description="Whose session it is; also in the query.")]
OnBusyChange = Annotated[
    Literal["reject", "interrupt"] | None,
    Meta(description="What to do while a reply is being made in the session: 409, or end that reply."),
]


class EditedContent(msgspec.Struct):
    """A message's new content."""

    message: MessageContent
    type: Annotated[Literal["user"], Meta(description="Only messages of the user can be edited.")] = "user"


class MessageEdit(msgspec.Struct):
    """The new content of a message of the user's."""

    content: Annotated[EditedContent, Meta(description="The new content.")]
    username: Username = None
    on_busy: OnBusyChange = None


class EditedMessage(msgspec.Struct):
    """The new message, which waits for a reply."""

    message: Annotated[ChatMessage, Meta(description="The new message.")]
    needs_regenerate: Annotated[bool, Meta(description="Whether it has yet to be answered."), example(True)] = True
    truncated_after_message: Annotated[
        bool, Meta(description="Whether the conversation ends with it; what followed is kept as an alternative.")
    ] = True


class RegenerateRequest(msgspec.Struct):
    """How a message is to be answered again; what is left out is as in `POST /api/v1/chat`."""

    username: Username = None
    selected_provider: str | None = None
    selected_model: str | None = None
    config_id: Annotated[str | None, Meta(description="A profile; `default` puts the session back on it.")] = None
    enable_streaming: bool | None = True
    role: Annotated[str | None, Meta(description="A role's id or name, whose system prompt takes over.")] = None
    knowledge: Annotated[
        bool | Annotated[list[str], Meta(max_length=MAX_COLLECTIONS)] | None,
        Meta(description="Search the knowledge base: in all collections, or in these (ids, names)."),
    ] = None
    tools_use: Annotated[
        bool | Annotated[list[str], Meta(max_length=MAX_TOOLS)] | None,
        Meta(description="Narrow the profile's tools to these (names, patterns), or with `false` to none."),
    ] = None
    on_busy: OnBusyChange = None


class ForkRequest(msgspec.Struct):
    """Where a new session is to begin to differ."""

    message_id: Annotated[int, Meta(ge=1, description="The last message that the two sessions share.")]
    username: Username = None
    session_id: Annotated[str | None, Meta(description="The new session's id; left out, one is made.")] = None


class TurnChange(msgspec.Struct):
    """Whose session it is."""

    username: Username = None
    on_busy: OnBusyChange = None


class SelectedMessage(msgspec.Struct):
    """The message whose path is shown."""

    message: Annotated[ChatMessage, Meta(description="The message.")]


class DeletedTurn(msgspec.Struct):
    """The messages that are gone."""

    deleted_ids: Annotated[list[int], Meta(description="The ids of the messages that are gone."), example([1, 2])]
