"""A run's events as OpenAI's chunks and completions: what the model server sent, under one id."""

from typing import Any

import msgspec

from app.chat.events import Chunk, Completed, Event, Failed, TextDelta
from app.chat.log import Encode, RunLog
from app.chat.models import Run
from app.kit import sse
from app.openai_api.errors import ReplyFailed, openai_error

DONE = sse.frame(b"[DONE]")

_json = msgspec.json.Encoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = b"null"


def kind_of(*, wants_usage: bool) -> str:
    """The name of the encoding, for RunLog.follow."""
    return "openai+usage" if wants_usage else "openai"


def chunk_encoder(run: Run, log: RunLog, *, wants_usage: bool) -> Encode:
    """Frames of a stream. Usage, which the model server is always asked for, is shown to those who asked for it."""
    shared: dict[str, msgspec.Raw] = {}

    def envelope() -> dict[str, msgspec.Raw]:
        if not shared:
            shared.update(_envelope(run, log))
        return shared

    def encode(_: int, event: Event) -> bytes:
        match event:
            case Chunk():
                members = _members.decode(event.data)
                if not wants_usage:
                    usage = bytes(members.pop("usage", msgspec.Raw(_NULL)))
                    if usage != _NULL and not _has_choices(members):
                        return b""
                return sse.frame(_json.encode({**members, **_missing(members, run), **envelope()}))
            case TextDelta():
                return sse.frame(_json.encode(_text_chunk(run, event.text)))
            case Completed():
                return DONE
            case Failed():
                return sse.frame(_json.encode(openai_error(ReplyFailed(event), "")))
            case _:
                return b""

    return encode


def completion_of(run: Run, log: RunLog) -> bytes:
    """The whole completion of a run that was completed."""
    for event in log.events:
        if isinstance(event, Chunk):
            members = _members.decode(event.data)
            return _json.encode({**members, **_missing(members, run, "chat.completion"), **_envelope(run, log)})
    text = next((event.text for event in log.events if isinstance(event, Completed)), "")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _json.encode({**_bare(run, "chat.completion"), "choices": [choice]})


def completion_id(run: Run) -> str:
    return f"chatcmpl-{run.id}"


def _envelope(run: Run, log: RunLog) -> dict[str, msgspec.Raw]:
    """What is the same in all chunks of a reply, whatever the model server does: its id, and when it was made."""
    created = _created(run)
    first = next((event for event in log.events if isinstance(event, Chunk)), None)
    if first is not None:
        told = _members.decode(first.data).get("created")
        created = bytes(told) if told is not None and bytes(told).isdigit() else created
    return {"id": msgspec.Raw(_json.encode(completion_id(run))), "created": msgspec.Raw(created)}


def _missing(members: dict[str, msgspec.Raw], run: Run, kind: str = "chat.completion.chunk") -> dict[str, msgspec.Raw]:
    """What clients count on and some model servers leave out."""
    defaults = {"object": kind, "model": run.model}
    return {name: msgspec.Raw(_json.encode(value)) for name, value in defaults.items() if name not in members}


def _has_choices(members: dict[str, msgspec.Raw]) -> bool:
    choices = members.get("choices")
    return choices is not None and bytes(choices).translate(None, b" \t\r\n") not in (b"[]", _NULL)


def _text_chunk(run: Run, text: str) -> dict[str, Any]:
    """For a run of whose log only the text is left."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {**_bare(run, "chat.completion.chunk"), "choices": [choice]}


def _bare(run: Run, kind: str) -> dict[str, Any]:
    return {"id": completion_id(run), "object": kind, "created": int(_created(run)), "model": run.model}


def _created(run: Run) -> bytes:
    return b"%d" % int(run.created_at.timestamp())
