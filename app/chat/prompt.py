"""The prompt: the system prompt, as much of the conversation as the profile allows, files and passages."""

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.chat import store
from app.chat.parts import Media, Part, Reply, Text, attachment_ids, plain_text
from app.chat.passages import add_passages
from app.chat.plan import ReplyPlan
from app.chat.tool_calls import answered_calls, tool_calls, tool_results
from app.chat.values import MessageRole, Run
from app.database.engine import Database
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import Reason
from app.files.models import Attachment, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.knowledge.models import Found
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

    async def build(self, plan: ReplyPlan, model: str) -> ModelRequest:
        """Make the request for a run whose turn has come; messages that wait for theirs are not shown yet.

        With the caller's own messages in the plan, those stand for the run's message. Raises DatabaseUnavailable,
        Unavailable.
        """
        run, profile, turn = plan.run, plan.profile, plan.turn
        if turn is None:
            turns = await self._turns(plan)
            messages = _with_passages([*_system(profile), *await self._messages(run, turns)], plan.passages)
            return ModelRequest(model, messages, dict(profile.parameters), profile.timeout_seconds, profile.max_retries)
        params = turn.params
        messages = [*turn.system, *turn.messages]
        if run.session_id is not None:
            history = await self._messages(run, (await self._turns(plan))[:-1], followed_by=turn.messages)
            messages = [*(turn.system or _system(profile)), *history, *turn.messages]
            params = with_defaults(params, profile.parameters)
        return ModelRequest(
            model,
            _with_passages(messages, plan.passages),
            dict(params),
            profile.timeout_seconds,
            profile.max_retries,
            stream=run.streaming,
            keep_raw=True,
        )

    async def _messages(
        self, run: Run, turns: Sequence[_Turn], followed_by: Sequence[Mapping[str, Any]] = ()
    ) -> list[Mapping[str, Any]]:
        """Turn stored messages into the model's, before `followed_by`, which have that form already."""
        quotes = {int(part.message_id) for _, parts in turns for part in parts if isinstance(part, Reply)}
        quoted = await self._quoted(run, quotes) if quotes else {}
        ids = {id for _, parts in turns for id in attachment_ids(parts)}
        attachments = await self._files.find_many(ids, None) if ids else {}
        as_images = _newest_images(turns, attachments)
        answered = answered_calls(turns, followed_by)
        messages: list[Mapping[str, Any]] = []
        for role, parts in turns:
            messages += tool_results(parts, answered)
            content = [item for part in parts if (item := await self._content(part, quoted, attachments, as_images))]
            calls = tool_calls(parts, answered)
            if content or calls:
                message = {"role": role, "content": _simplest(content) if content else None}
                messages.append({**message, "tool_calls": calls} if calls else message)
        return messages

    async def _turns(self, plan: ReplyPlan) -> list[_Turn]:
        """Load the run's own message and, before it, the newest that fit the profile's limits; the oldest first."""
        if plan.first_parts is not None:
            return [(MessageRole.USER.value, plan.first_parts)]
        limit = plan.profile.history_messages + 1
        newest = await self._database.read(lambda connection: store.conversation(connection, plan.run, limit))
        turns: list[_Turn] = []
        tokens = plan.profile.history_tokens
        for role, parts in newest:
            tokens -= approximate_tokens(plain_text(parts))
            if turns and tokens < 0:
                break
            turns.append((role, parts))
        return turns[::-1]

    async def _quoted(self, run: Run, message_ids: Collection[int]) -> Mapping[int, str]:
        return await self._database.read(lambda connection: store.quoted_texts(connection, run.session_id, message_ids))

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


def _with_passages(messages: list[Mapping[str, Any]], passages: Sequence[Found]) -> list[Mapping[str, Any]]:
    return add_passages(messages, passages) if passages else messages


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
