"""The prompt: the system prompt, as much of the conversation as the profile allows, files and passages."""

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from app.chat import store
from app.chat.parts import Media, Part, Reply, Text, ToolCallPart, ToolResult, approximate_tokens
from app.chat.passages import add_passages
from app.chat.plan import ReplyPlan
from app.chat.values import MessageRole, Run
from app.database.engine import Database
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import Reason
from app.files.models import Attachment, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.knowledge.models import FoundPassage
from app.profiles.models import Profile
from app.providers.models import ModelRequest
from app.workers.turns import Caller

MAX_IMAGE_BYTES = 10 * 1024**2
IMAGES_SHOWN = 10
"""Of a long conversation the newest images are shown as images, the others by their names."""
SHOWN_BY_NAME = frozenset({Reason.UNSUPPORTED, Reason.TOO_LARGE})
"""Files that are no documents, or too long to be read, are shown by their names."""

MAX_QUOTE_CHARS = 4_000

Message = Mapping[str, Any]
Turn = tuple[str, tuple[Part, ...]]
"""The role and the parts of a stored message."""

_LENGTH_PARAMS = frozenset({"max_tokens", "max_completion_tokens"})


class PromptBuilder:
    """Makes model requests from the stored conversation; loads no more of it than the profile's limits."""

    def __init__(self, database: Database, files: FileService, documents: ExtractedTextService) -> None:
        self._database = database
        self._files = files
        self._documents = documents

    async def build(self, plan: ReplyPlan, model: str) -> ModelRequest:
        """Make the request for a run whose turn has come; messages that wait for theirs are not shown yet.

        With the caller's own messages in the plan, those stand for the run's message. Raises DatabaseUnavailable,
        Unavailable.
        """
        run, profile, turn = plan.run, plan.profile, plan.turn
        if turn is None:
            history = await self._transcript(run, await self._turns(plan))
            messages = _with_passages([*_system(profile), *history], plan.passages)
            return ModelRequest(
                model, messages, msgspec.to_builtins(profile.parameters), profile.timeout_seconds, profile.max_retries
            )
        params = dict(turn.params)
        messages = [*turn.system, *turn.messages]
        if run.session_id is not None:
            history = await self._transcript(run, (await self._turns(plan))[:-1], followed_by=turn.messages)
            messages = [*(turn.system or _system(profile)), *history, *turn.messages]
            params = with_defaults(params, msgspec.to_builtins(profile.parameters))
        return ModelRequest(
            model,
            _with_passages(messages, plan.passages),
            params,
            profile.timeout_seconds,
            profile.max_retries,
            stream=run.streaming,
            keep_raw=True,
            defaults=turn.defaults,
        )

    async def _turns(self, plan: ReplyPlan) -> list[Turn]:
        """Load the run's own message and, before it, the newest that fit the profile's limits; the oldest first."""
        if plan.first_parts is not None:
            return [(MessageRole.USER.value, plan.first_parts)]
        limit = plan.profile.history.max_messages + 1
        newest = await self._database.read(lambda connection: store.conversation(connection, plan.run, limit))
        turns: list[Turn] = []
        tokens = plan.profile.history.max_tokens
        for role, parts in newest:
            tokens -= approximate_tokens(parts)
            if turns and tokens < 0:
                break
            turns.append((role, parts))
        return turns[::-1]

    async def _transcript(self, run: Run, turns: Sequence[Turn], followed_by: Sequence[Message] = ()) -> list[Message]:
        """Load what the turns name, and put them into the model's form."""
        parts = [part for _, parts in turns for part in parts]
        quoted_ids = {int(part.message_id) for part in parts if isinstance(part, Reply)}
        quotes = await self._quotes(run, quoted_ids) if quoted_ids else {}
        media = await self._media(run, turns) if any(isinstance(part, Media) for part in parts) else {}
        return _transcript(turns, quotes, media, followed_by)

    async def _quotes(self, run: Run, message_ids: Collection[int]) -> Mapping[int, str]:
        return await self._database.read(lambda connection: store.quoted_texts(connection, run.session_id, message_ids))

    async def _media(self, run: Run, turns: Sequence[Turn]) -> Mapping[Media, Message]:
        media = {part for _, parts in turns for part in parts if isinstance(part, Media)}
        attachments = await self._files.find_many({part.attachment_id for part in media}, None)
        as_images = _newest_images(turns, attachments)
        caller = Caller(run.key_id, run.username)
        return {
            part: await self._content(part, attachments.get(part.attachment_id), as_images, caller) for part in media
        }

    async def _content(
        self, part: Media, attachment: Attachment | None, as_images: Collection[str], caller: Caller
    ) -> Message:
        """Return an image as it is, a document as its text, and anything else as its name."""
        if attachment is None:
            return _text(f"[{part.kind}: {part.filename or part.attachment_id}, no longer available]")
        name = part.filename or attachment.filename
        if attachment.id in as_images:
            data = base64.b64encode(await self._files.read(attachment, MAX_IMAGE_BYTES)).decode()
            return {"type": "image_url", "image_url": {"url": f"data:{attachment.media_type};base64,{data}"}}
        if attachment.type is Kind.FILE:
            try:
                return _text((await self._documents.text_of(attachment, caller)).for_model(name))
            except DocumentRefused as error:
                if error.reason not in SHOWN_BY_NAME:
                    return _text(f"[file: {name}, which cannot be read: {error.explanation}]")
        return _text(f"[{attachment.type}: {name}, {attachment.media_type}]")


def with_defaults(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a request's parameters with those that it leaves open."""
    if _LENGTH_PARAMS & params.keys():  # two names of one thing, which model servers refuse together
        defaults = {name: value for name, value in defaults.items() if name not in _LENGTH_PARAMS}
    return {**defaults, **params}


def _newest_images(turns: Sequence[Turn], attachments: Mapping[str, Attachment]) -> Collection[str]:
    """Return the ids of the attachments that are shown as images. Assistants' turns cannot hold images."""
    ids = [
        part.attachment_id
        for role, parts in reversed(turns)
        for part in parts
        if role == MessageRole.USER and isinstance(part, Media) and part.attachment_id in attachments
    ]
    images = [id for id in ids if attachments[id].type == "image" and attachments[id].size <= MAX_IMAGE_BYTES]
    return frozenset(images[:IMAGES_SHOWN])


def _transcript(
    turns: Sequence[Turn],
    quotes: Mapping[int, str],
    media: Mapping[Media, Message],
    followed_by: Sequence[Message] = (),
) -> list[Message]:
    """Return the turns in OpenAI's form, the oldest first.

    Model servers refuse a call of a tool without its result, and a result without its call. Either can be missing from
    the stored conversation: the caller may have gone on without the tool, and of a long conversation only the end is
    shown.

    `quotes` are the texts of quoted messages, `media` the content of each media part; `followed_by` are the messages
    behind the last turn.
    """
    answered = _answered_calls(turns, followed_by)
    messages: list[Message] = []
    for role, parts in turns:
        messages += [
            {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.text}
            for part in parts
            if isinstance(part, ToolResult) and part.tool_call_id in answered
        ]
        content = [item for part in parts if (item := _content(part, quotes, media))]
        calls = [_call(part) for part in parts if isinstance(part, ToolCallPart) and part.id in answered]
        if content or calls:
            message = {"role": role, "content": _simplest(content) if content else None}
            messages.append({**message, "tool_calls": calls} if calls else message)
    return messages


def _text(text: str) -> Message:
    return {"type": "text", "text": text}


def _answered_calls(turns: Sequence[Turn], followed_by: Sequence[Message]) -> Collection[str]:
    """Return the ids of the calls that are answered right after their message, all of that message together."""
    answered: set[str] = set()
    for index, (_, parts) in enumerate(turns):
        calls = {part.id for part in parts if isinstance(part, ToolCallPart)}
        if not calls:
            continue
        if index + 1 < len(turns):
            results = {part.tool_call_id for part in turns[index + 1][1] if isinstance(part, ToolResult)}
        else:
            results = {str(message.get("tool_call_id")) for message in followed_by if message.get("role") == "tool"}
        if calls <= results:
            answered |= calls
    return answered


def _call(part: ToolCallPart) -> Message:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def _content(part: Part, quotes: Mapping[int, str], media: Mapping[Media, Message]) -> Message | None:
    """Return a part as content; calls of tools and their results have places of their own."""
    if isinstance(part, Text):
        return _text(part.text)
    if isinstance(part, Reply):
        quote = part.selected_text or quotes.get(int(part.message_id), "")
        lines = quote[:MAX_QUOTE_CHARS].splitlines()
        return _text("\n".join(f"> {line}" for line in lines)) if lines else None
    return media[part] if isinstance(part, Media) else None


def _simplest(content: list[Message]) -> str | list[Message]:
    """Return plain text as a string, which every model server takes; a list only where there are images."""
    if all(item["type"] == "text" for item in content):
        return "\n".join(item["text"] for item in content)
    return content


def _system(profile: Profile) -> list[Message]:
    return [{"role": "system", "content": profile.system_prompt}] if profile.system_prompt else []


def _with_passages(messages: list[Message], passages: Sequence[FoundPassage]) -> list[Message]:
    return add_passages(messages, passages) if passages else messages
