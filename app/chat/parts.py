"""The parts of a message: values, parsed strictly from a client's JSON, and stored and shown as JSON."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import msgspec

from app.errors import BadRequest
from app.files.names import clean_filename
from app.tools.models import CallStatus

MediaKind = Literal["image", "record", "file", "video"]
MEDIA_KINDS: frozenset[str] = frozenset(get_args(MediaKind))
MAX_ID_CHARS = 255
PART_CODES = (
    "invalid_message",
    "message_too_long",
    "invalid_message_part",
    "unsupported_message_part",
    "missing_attachment_id",
    "missing_message_id",
    "attachment_not_found",
    "reply_not_found",
)
"""The codes of refused parts."""
EMPTY = "Message content is empty (reply only is not allowed)"


@dataclass(frozen=True, slots=True)
class PartLimits:
    """`chars` bounds all the text of a message together, `parts` their number."""

    chars: int = 200_000
    parts: int = 50


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    kind: MediaKind
    attachment_id: str
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A quotation of an earlier message; `message_id` is the number that `message_saved` carried."""

    message_id: int | str
    selected_text: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A function that the model wants called; `arguments` is the JSON text that it wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, as the caller wrote it."""

    tool_call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CarriedCall:
    """A call that Palaver carried out, or refused to; times are in seconds since 1970.

    Without a `status` it goes on.
    """

    id: str
    name: str
    arguments: str
    ts: float
    result: str = ""
    finished_ts: float | None = None
    status: CallStatus | None = None


@dataclass(frozen=True, slots=True)
class ToolStep:
    """The calls that the model made at once."""

    calls: tuple[CarriedCall, ...]


ClientPart = Text | Media | Reply
"""The parts that a client of the Open API may send."""

Part = ClientPart | ToolCallPart | ToolResult | ToolStep


def parse_parts(raw: object, limits: PartLimits) -> tuple[ClientPart, ...]:
    """The parts of a client's `message`: a string, or a list of part objects. Raises BadRequest.

    A part's `path` is never read: files are named by attachment ids only.
    """
    if isinstance(raw, str):
        parts: tuple[ClientPart, ...] = (Text(raw),) if raw.strip() else ()
    elif raw is None:
        parts = ()
    elif isinstance(raw, list):
        if len(raw) > limits.parts:
            raise BadRequest(f"A message has at most {limits.parts} parts", code="message_too_long")
        parts = tuple(part for item in raw if (part := _parse_part(item)) is not None)
    else:
        raise BadRequest("message must be a string or a list of message parts", code="invalid_message")
    if not any(not isinstance(part, Reply) for part in parts):
        raise BadRequest(EMPTY, code="empty_message")
    if sum(_chars(part) for part in parts) > limits.chars:
        raise BadRequest(f"A message has at most {limits.chars} characters", code="message_too_long")
    return parts


def _parse_part(raw: object) -> ClientPart | None:
    if not isinstance(raw, dict):
        raise BadRequest("message part must be an object", code="invalid_message_part")
    kind = raw.get("type")
    for field in ("text", "selected_text", "attachment_id", "filename", "path"):
        if not isinstance(raw.get(field), str | None):
            raise BadRequest(f"message part: {field} must be a string", code="invalid_message_part")
    if kind == "plain":
        text = raw.get("text") or ""
        return Text(text) if text.strip() else None
    if isinstance(kind, str) and kind in MEDIA_KINDS:
        attachment_id = raw.get("attachment_id")
        if not attachment_id:
            raise BadRequest(f"{kind} part missing attachment_id", code="missing_attachment_id")
        return Media(
            cast(MediaKind, kind),
            attachment_id[:MAX_ID_CHARS],
            clean_filename(raw["filename"]) if raw.get("filename") else None,
        )
    if kind == "reply":
        message_id = raw.get("message_id")
        if isinstance(message_id, bool) or not isinstance(message_id, (int, str)) or message_id == "":
            raise BadRequest("reply part missing message_id", code="missing_message_id")
        return Reply(message_id, raw.get("selected_text") or None)
    name = kind if isinstance(kind, str) else "null" if kind is None else type(kind).__name__
    raise BadRequest(f"unsupported message part type: {name[:64]}", code="unsupported_message_part")


def _chars(part: Part) -> int:
    if isinstance(part, Text):
        return len(part.text)
    return len(part.selected_text or "") if isinstance(part, Reply) else 0


def to_stored(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Return the parts as JSON, to be stored and shown."""
    return [_to_dict(part) for part in parts]


def _to_dict(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "plain", "text": part.text}
    if isinstance(part, Media):
        filename = {} if part.filename is None else {"filename": part.filename}
        return {"type": part.kind, "attachment_id": part.attachment_id, **filename}
    if isinstance(part, ToolCallPart):
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
    if isinstance(part, ToolResult):
        return {"type": "tool_result", "tool_call_id": part.tool_call_id, "text": part.text}
    if isinstance(part, ToolStep):
        return {"type": "tool_call", "tool_calls": [_call_to_dict(call) for call in part.calls]}
    selected = {} if part.selected_text is None else {"selected_text": part.selected_text}
    return {"type": "reply", "message_id": part.message_id, **selected}


def _call_to_dict(call: CarriedCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "args": decoded_arguments(call.arguments),
        "ts": call.ts,
        "result": call.result,
        "finished_ts": call.finished_ts,
        "status": call.status,
    }


def decoded_arguments(text: str) -> Any:
    """Return a call's arguments, or their text if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def from_stored(stored: Iterable[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return the parts of stored JSON."""
    parts: list[Part] = []
    for raw in stored:
        match raw["type"]:
            case "plain":
                parts.append(Text(raw["text"]))
            case "reply":
                parts.append(Reply(raw["message_id"], raw.get("selected_text")))
            case "tool_call" if "tool_calls" in raw:
                parts.append(ToolStep(tuple(_call_from_dict(call) for call in raw["tool_calls"])))
            case "tool_call":
                parts.append(ToolCallPart(raw["id"], raw["name"], raw["arguments"]))
            case "tool_result":
                parts.append(ToolResult(raw["tool_call_id"], raw["text"]))
            case kind:
                parts.append(Media(kind, raw["attachment_id"], raw.get("filename")))
    return tuple(parts)


def _call_from_dict(raw: Mapping[str, Any]) -> CarriedCall:
    arguments, status = raw["args"], raw["status"]
    return CarriedCall(
        raw["id"],
        raw["name"],
        arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode(),
        raw["ts"],
        raw["result"],
        raw["finished_ts"],
        status and CallStatus(status),
    )


def plain_text(parts: Iterable[Part]) -> str:
    """Join the text parts by line breaks."""
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def approximate_tokens(parts: Iterable[Part]) -> int:
    """Estimate the tokens of a message: about four bytes each in most languages and models, and some for itself."""
    size = len(plain_text(parts).encode())
    for part in parts:
        if isinstance(part, ToolStep):
            size += sum(
                len(call.name) + len(call.arguments.encode()) + len(call.result.encode()) for call in part.calls
            )
    return size // 4 + 4


def attachment_ids(parts: Iterable[Part]) -> list[str]:
    return [part.attachment_id for part in parts if isinstance(part, Media)]


def check_attachments(parts: Sequence[Part], visible: Collection[str]) -> None:
    """Raises BadRequest `attachment not found: X` for the first attachment that is not among the `visible` ones."""
    for attachment_id in attachment_ids(parts):
        if attachment_id not in visible:
            raise BadRequest(f"attachment not found: {attachment_id}", code="attachment_not_found")
