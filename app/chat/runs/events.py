"""The events of a run: one stream of values, which every door encodes in its own way.

An event is fixed once it is in the run's log. Its number there is what `Last-Event-ID` names, so a run's events are
never numbered anew, and an event read twice is the same bytes twice. Stored, it is a MessagePack array that begins with
its tag.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from app.providers.models import ErrorObject
from app.tools.models import CallStatus


class Started(Struct, frozen=True, gc=False, array_like=True, tag="s"):
    session_id: str | None
    run_id: str
    message_id: str


class UserMessageSaved(Struct, frozen=True, gc=False, array_like=True, tag="u"):
    id: int
    created_at: str


class TextDelta(Struct, frozen=True, gc=False, array_like=True, tag="d"):
    text: str


class Ref(Struct, frozen=True, gc=False, array_like=True):
    """A passage that the model was shown as number `number`; `position` counts the document's passages from 0.

    `score` is from 0 to 1; `text` is how the passage begins.
    """

    number: int
    collection_id: str
    document_id: str
    title: str
    position: int
    heading: str
    score: float
    text: str


class Refs(Struct, frozen=True, gc=False, array_like=True, tag="rf"):
    """What of the knowledge base the model was shown."""

    refs: list[Ref]


class ReasoningDelta(Struct, frozen=True, gc=False, array_like=True, tag="r"):
    text: str


class Chunk(Struct, frozen=True, gc=False, array_like=True, tag="k"):
    """A piece of the model server's answer as it came: a chunk's JSON, or a whole completion's.

    `text` and `reasoning` are what the first choice says in it.
    """

    data: bytes
    text: str = ""
    reasoning: str = ""


class ToolCall(Struct, frozen=True, gc=False, array_like=True, tag="tc"):
    """A call that the model made; one of the client's own tools is answered by the client, others are carried out.

    `arguments` is the JSON text that the model wrote; `ts` is in seconds since 1970.
    """

    id: str
    name: str
    arguments: str
    ts: float
    is_clients: bool = True


class ToolCallResult(Struct, frozen=True, gc=False, array_like=True, tag="tr"):
    """The result of the call `id`, which Palaver carried out; `ts` is in seconds since 1970."""

    id: str
    ts: float
    result: str
    status: CallStatus


class MediaAdded(Struct, frozen=True, gc=False, array_like=True, tag="ma"):
    """A file that a tool added to the reply."""

    kind: str
    attachment_id: str


class AttachmentSaved(Struct, frozen=True, gc=False, array_like=True, tag="as"):
    """Follows a MediaAdded."""

    id: str
    kind: str


class ApprovalRequired(Struct, frozen=True, gc=False, array_like=True, tag="ar"):
    """The call `call_id` waits for a person's yes or no."""

    approval_id: str
    call_id: str
    name: str
    arguments: str


class Stats(Struct, frozen=True, gc=False, array_like=True, tag="st"):
    """Tokens as the model server counted them; times in seconds since 1970, `first_token` in seconds from the start."""

    input_other: int
    input_cached: int
    output: int
    start_time: float
    end_time: float
    first_token: float


class Completed(Struct, frozen=True, gc=False, array_like=True, tag="c"):
    text: str
    reasoning: str


class MessageSaved(Struct, frozen=True, gc=False, array_like=True, tag="m"):
    id: int
    created_at: str


class Failed(Struct, frozen=True, gc=False, array_like=True, tag="f"):
    """Why there is no `Completed`; `message` is safe to show.

    `status` is the HTTP status for those who have not been answered yet, `retry_after` is in seconds. `refusal` is the
    model server's own account of a request that it refused, for those who wrote that request themselves.
    """

    code: str
    message: str
    status: int | None = None
    retry_after: float | None = None
    refusal: ErrorObject | None = None


class Ended(Struct, frozen=True, gc=False, array_like=True, tag="e"):
    pass


Event = (
    Started
    | UserMessageSaved
    | Refs
    | TextDelta
    | ReasoningDelta
    | Chunk
    | ToolCall
    | ToolCallResult
    | MediaAdded
    | AttachmentSaved
    | ApprovalRequired
    | Stats
    | Completed
    | MessageSaved
    | Failed
    | Ended
)


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Consecutive events of one log, the first of which has the number `first`."""

    first: int
    events: Sequence[Event]


encode_events: Callable[[Sequence[Event]], bytes] = msgspec.msgpack.Encoder().encode
decode_events: Callable[[bytes], list[Event]] = msgspec.msgpack.Decoder(list[Event]).decode
