"""What the model is shown: the system prompt, as much of the conversation as the profile allows, and the files."""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from app.chat import statements
from app.chat.commands import ModelTurn
from app.chat.models import MessageRow
from app.chat.parts import Media, Part, Reply, Text, attachment_ids, from_stored, plain_text
from app.chat.tool_calls import answered_calls, tool_calls, tool_results
from app.chat.values import MessageRole, Run
from app.database.engine import Database
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import Reason
from app.files.models import Attachment, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.profiles.models import Profile
from app.providers.models import ModelRequest

MAX_IMAGE_BYTES = 10 * 1024**2
MAX_QUOTE_CHARS = 4_000
IMAGES_SHOWN = 10
"""Of a long conversation the newest images are shown as images, the others by their names."""

_LENGTH_PARAMS = frozenset({"max_tokens", "max_completion_tokens"})
_Turn = tuple[str, tuple[Part, ...]]

SHOWN_BY_NAME = frozenset({Reason.UNSUPPORTED, Reason.TOO_LARGE})
"""Files that are no documents, or too long to be read, are shown by their names."""


class PromptBuilder:
    """Makes model requests from the stored conversation; loads no more of it than the profile's limits."""

    def __init__(self, database: Database, files: FileService, documents: ExtractedTextService) -> None:
        self._database = database
        self._files = files
        self._documents = documents

    async def build(
        self,
        run: Run,
        profile: Profile,
        model: str,
        turn: ModelTurn | None = None,
        first: tuple[Part, ...] | None = None,
    ) -> ModelRequest:
        """The request for a run whose turn it is; messages that wait for theirs are not shown yet.

        With `turn`, the run's own message is shown as that has it. `first` are the parts of a message that began its
        session: there is no conversation to be read then. Raises DatabaseUnavailable, Unavailable.
        """
        turns = await self._turns(run, profile) if first is None else [(MessageRole.USER.value, first)]
        if turn is None:
            messages = [*_system(profile), *await self._shown(run, turns)]
            return ModelRequest(model, messages, dict(profile.parameters), profile.timeout_seconds, profile.max_retries)
        history = await self._shown(run, turns[:-1], followed_by=turn.messages)
        complete = replace(turn, messages=[*history, *turn.messages], system=turn.system or _system(profile))
        return as_given(complete, profile, model, stream=run.streaming, params=profile.parameters)

    async def _shown(
        self, run: Run, turns: Sequence[_Turn], followed_by: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """Stored turns as the model is shown them, before messages that are not stored in that form."""
        quoted = await self._quoted(run, [part for _, parts in turns for part in parts if isinstance(part, Reply)])
        wanted = {id for _, parts in turns for id in attachment_ids(parts)}
        attachments = await self._files.find_many(wanted, None) if wanted else {}
        as_images = _newest_images(turns, attachments)
        answered = answered_calls(turns, followed_by)
        messages: list[dict[str, Any]] = []
        for role, parts in turns:
            messages += tool_results(parts, answered)
            content = [item for part in parts if (item := await self._content(part, quoted, attachments, as_images))]
            calls = tool_calls(parts, answered)
            if content or calls:
                message = {"role": role, "content": _simplest(content) if content else None}
                messages.append({**message, "tool_calls": calls} if calls else message)
        return messages

    async def _turns(self, run: Run, profile: Profile) -> list[_Turn]:
        """The run's own message and, before it, the newest that fit the profile's limits; the oldest first.

        A message that went ahead of others has a higher number than theirs, and they are shown its answer all the same.
        """
        most = profile.history_messages + 1

        def read(connection: Connection) -> list[Any]:
            own = run.user_message_id
            rows = statements.NEWEST_MESSAGES.all(connection, session_id=run.session_id, user_message_id=own, most=most)
            if all(row.id != own for row in rows):  # much has been added since it was sent
                rows += statements.MESSAGE.all(connection, message_id=own)
            return rows

        rows = await self._database.read(read)
        rows.sort(key=lambda row: row.id != run.user_message_id)  # its own message first, which is the last in time
        turns: list[_Turn] = []
        left = profile.history_tokens
        for row in rows[:most]:
            parts = from_stored(row.parts)
            left -= approximate_tokens(plain_text(parts))
            if turns and left < 0:
                break
            turns.append((MessageRole(row.role).value, parts))
        return turns[::-1]

    async def _quoted(self, run: Run, replies: Sequence[Reply]) -> Mapping[int, str]:
        """The texts of quoted messages: of this session only, whatever a reply may name."""
        ids = {int(reply.message_id) for reply in replies}
        if not ids:
            return {}
        query = select(MessageRow.id, MessageRow.parts).where(
            MessageRow.session_id == run.session_id, MessageRow.id.in_(ids)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {row.id: plain_text(from_stored(row.parts)) for row in rows}

    async def _content(
        self,
        part: Part,
        quoted: Mapping[int, str],
        attachments: Mapping[str, Attachment],
        as_images: Collection[str],
    ) -> dict[str, Any] | None:
        if isinstance(part, Text):
            return _text(part.text)
        if isinstance(part, Reply):
            quote = part.selected_text or quoted.get(int(part.message_id), "")
            lines = quote[:MAX_QUOTE_CHARS].splitlines()
            return _text("\n".join(f"> {line}" for line in lines)) if lines else None
        if not isinstance(part, Media):
            return None  # what has to do with tools stands beside the content
        attachment = attachments.get(part.attachment_id)
        if attachment is None:
            return _text(f"[{part.kind}: {part.filename or part.attachment_id}, no longer available]")
        name = part.filename or attachment.filename
        if attachment.id in as_images:
            data = base64.b64encode(await self._files.read(attachment, MAX_IMAGE_BYTES)).decode()
            return {"type": "image_url", "image_url": {"url": f"data:{attachment.media_type};base64,{data}"}}
        if attachment.type is Kind.FILE:
            try:
                return _text((await self._documents.text_of(attachment)).for_model(name))
            except DocumentRefused as refused:
                if refused.reason not in SHOWN_BY_NAME:
                    return _text(f"[file: {name}, which cannot be read: {refused.explanation}]")
        return _text(f"[{attachment.type}: {name}, {attachment.media_type}]")


def approximate_tokens(text: str) -> int:
    """About four bytes make a token, in most languages and models; a message itself costs some."""
    return len(text.encode()) // 4 + 4


def _newest_images(turns: Sequence[_Turn], attachments: Mapping[str, Attachment]) -> frozenset[str]:
    """The attachments that are shown as images. Assistants' turns cannot hold images."""
    ids = [
        part.attachment_id
        for role, parts in reversed(turns)
        for part in parts
        if role == MessageRole.USER and isinstance(part, Media) and part.attachment_id in attachments
    ]
    images = [id for id in ids if attachments[id].type == "image" and attachments[id].size <= MAX_IMAGE_BYTES]
    return frozenset(images[:IMAGES_SHOWN])


def _system(profile: Profile) -> list[dict[str, Any]]:
    return [{"role": "system", "content": profile.system_prompt}] if profile.system_prompt else []


def as_given(
    turn: ModelTurn, profile: Profile, model: str, *, stream: bool, params: Mapping[str, Any] | None = None
) -> ModelRequest:
    """The request that is made of a caller's own messages and parameters; `params` are defaults for the latter."""
    return ModelRequest(
        model,
        [*turn.system, *turn.messages],
        with_defaults(turn.params, params or {}),
        profile.timeout_seconds,
        profile.max_retries,
        stream=stream,
        keep_raw=True,
    )


def with_defaults(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for a model, and of the defaults those that they leave open."""
    if _LENGTH_PARAMS & params.keys():  # two names of one thing, which model servers refuse together
        defaults = {name: value for name, value in defaults.items() if name not in _LENGTH_PARAMS}
    return {**defaults, **params}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _simplest(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Plain text as a string, which every model server takes; a list only where there are images."""
    if all(item["type"] == "text" for item in content):
        return "\n".join(item["text"] for item in content)
    return content
