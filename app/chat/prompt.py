"""The prompt: the system prompt, as much of the conversation as the profile allows, files and passages."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import msgspec

from app.chat import message_store
from app.chat.media import MediaLoader, Message, ShownImages, Turn, text_part
from app.chat.parts import (
    Media,
    Part,
    Reply,
    Text,
    ToolCallPart,
    ToolResult,
    ToolStep,
    approximate_tokens,
    attachment_ids,
)
from app.chat.passages import add_passages
from app.chat.plan import ReplyPlan, Target
from app.chat.refused_images import RefusedImages
from app.chat.transcript import after_steps, shortened_results, step_messages
from app.chat.values import MessageRole, Run
from app.database.engine import Database
from app.files.quoting import label, quoted
from app.knowledge.models import FoundPassage
from app.profiles.models import Profile
from app.providers.models import ModelRequest
from app.workers.turns import Caller

MAX_QUOTE_CHARS = 4_000
CONTINUED = "[The conversation continues here.]"
"""The user's turn in a conversation that begins with the assistant: with a bot's message, or where it is cut off."""

NOTHING: Mapping[str, str] = {}
NO_MEDIA: Mapping[tuple[int, int], Message] = {}

_LENGTH_PARAMS = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to a model server, and the images of the session that are in it."""

    request: ModelRequest
    images: ShownImages


class PromptBuilder:
    """Makes model requests from the stored conversation; loads no more of it than the profile's limits.

    `refused_images` is what has been learnt of model servers.
    """

    def __init__(self, database: Database, media: MediaLoader) -> None:
        self._database = database
        self._media = media
        self.refused_images = RefusedImages()

    async def build(self, plan: ReplyPlan, target: Target, hidden: Mapping[str, str] = NOTHING) -> Prompt:
        """Make the request for a run whose turn has come; messages that wait for theirs are not shown yet.

        With the caller's own messages in the plan, those stand for the run's message. `hidden` are images by their ids,
        with the reason to show them by their names. Raises DatabaseUnavailable, Unavailable.
        """
        run, profile, turn = plan.run, plan.profile, plan.turn
        images, dialogue = ShownImages(), _dialogue(plan)
        if turn is None:
            history, images = await self._transcript(plan, target, hidden)
            messages = _with_passages([*_system(profile), *fitted([*dialogue, *history])], plan.passages)
            params = msgspec.to_builtins(profile.parameters)
            request = ModelRequest(target.model, messages, params, profile.timeout_seconds, profile.max_retries)
            return Prompt(request, images)
        params = dict(turn.params)
        messages = [*turn.system, *dialogue, *turn.messages]
        if run.session_id is not None:
            history, images = await self._transcript(plan, target, hidden)
            messages = [*(turn.system or _system(profile)), *fitted([*dialogue, *history], turn.messages)]
            params = with_defaults(params, msgspec.to_builtins(profile.parameters))
        request = ModelRequest(
            target.model,
            _with_passages(messages, plan.passages),
            params,
            profile.timeout_seconds,
            profile.max_retries,
            stream=run.streaming,
            keep_raw=True,
            defaults=turn.defaults,
        )
        return Prompt(request, images)

    async def _turns(self, plan: ReplyPlan) -> tuple[list[Turn], int]:
        """Load the run's own message and, before it, the newest that fit the profile's limits; the oldest first.

        The number is that of the tokens that are left.
        """
        opening = [Text(text) for text in plan.begin_dialogs]
        tokens = plan.profile.history.max_tokens - (approximate_tokens(opening) if opening else 0)
        if plan.first_parts is not None:
            return [(MessageRole.USER.value, plan.first_parts)], tokens
        limit = plan.profile.history.max_messages + 1
        newest = await self._database.read(lambda connection: message_store.conversation(connection, plan.run, limit))
        turns: list[Turn] = []
        for role, all_parts in newest:
            parts, size = all_parts, approximate_tokens(all_parts)
            if size > tokens and (parts := shortened_results(all_parts)) != all_parts:
                size = approximate_tokens(parts)
            if turns and tokens < size:
                break
            tokens -= size
            turns.append((role, parts))
        return turns[::-1], tokens

    async def _transcript(
        self, plan: ReplyPlan, target: Target, hidden: Mapping[str, str]
    ) -> tuple[list[Message], ShownImages]:
        """Load the turns and what they name, and put them into the model's form; without those of the plan itself."""
        turns, tokens = await self._turns(plan)
        followed_by: Sequence[Message] = ()
        own_parts = turns[-1][1]
        if plan.turn is not None:
            turns, followed_by = turns[:-1], plan.turn.messages
        parts = [part for _, parts in turns for part in parts]
        quoted_ids = {int(part.message_id) for part in parts if isinstance(part, Reply)}
        quotes = await self._quotes(plan.run, quoted_ids) if quoted_ids else {}
        if not any(isinstance(part, Media) for part in (*parts, *own_parts)):
            return _transcript(turns, quotes, NO_MEDIA, followed_by), ShownImages()
        attachments = set(attachment_ids(parts))
        hidden = {**self.refused_images.hidden(target.key, attachments), **hidden}
        caller = Caller(plan.run.key_id, plan.run.username)
        room = self._media.room(tokens, followed_by)
        media = await self._media.load(turns, room, hidden, caller, has_own=plan.turn is None)
        own_images = media.own_images if plan.turn is None else _image_names(own_parts)
        return _transcript(turns, quotes, media.parts, followed_by), ShownImages(own_images, media.images)

    async def _quotes(self, run: Run, message_ids: Collection[int]) -> Mapping[int, str]:
        return await self._database.read(
            lambda connection: message_store.quoted_texts(connection, run.session_id, message_ids)
        )


def with_defaults(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a request's parameters with those that it leaves open."""
    if _LENGTH_PARAMS & params.keys():  # two names of one thing, which model servers refuse together
        defaults = {name: value for name, value in defaults.items() if name not in _LENGTH_PARAMS}
    return {**defaults, **params}


def _image_names(parts: Sequence[Part]) -> Mapping[str, str]:
    return {
        part.attachment_id: label(part.filename or "image")
        for part in parts
        if isinstance(part, Media) and part.kind == "image"
    }


def _transcript(
    turns: Sequence[Turn],
    quotes: Mapping[int, str],
    media: Mapping[tuple[int, int], Message],
    followed_by: Sequence[Message] = (),
) -> list[Message]:
    """Return the turns in OpenAI's form, the oldest first.

    Model servers refuse a call of a tool without its result, and a result without its call. Either can be missing from
    the stored conversation: the caller may have gone on without the tool, and of a long conversation only the end is
    shown.

    `quotes` are the texts of quoted messages, `media` the content of media parts by the places of turn and part;
    `followed_by` are the messages behind the last turn.
    """
    answered = _answered_calls(turns, followed_by)
    messages: list[Message] = []
    for index, (role, all_parts) in enumerate(turns):
        if len(all_parts) == 1 and isinstance(all_parts[0], Text):  # as nearly every message
            messages.append({"role": role, "content": all_parts[0].text})
            continue
        parts = all_parts
        if any(isinstance(part, ToolStep) for part in all_parts):
            messages += step_messages(all_parts)
            parts = after_steps(all_parts)
        first = len(all_parts) - len(parts)
        messages += [
            {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.text}
            for part in parts
            if isinstance(part, ToolResult) and part.tool_call_id in answered
        ]
        content = [
            item
            for place, part in enumerate(parts)
            if (item := _content(part, quotes, media.get((index, first + place))))
        ]
        calls = [_call(part) for part in parts if isinstance(part, ToolCallPart) and part.id in answered]
        if content or calls:
            message = {"role": role, "content": _simplest(content) if content else None}
            messages.append({**message, "tool_calls": calls} if calls else message)
    return messages


def fitted(messages: Sequence[Message], followed_by: Sequence[Message] = ()) -> list[Message]:
    """Return the conversation with the user first, and neighbouring turns of one role joined.

    Chat templates of many models take nothing else, and what one of them refused it would refuse with every later turn:
    a question without its reply, a bot's own message, a conversation whose beginning is left out. The messages that
    follow are the caller's own: only the first of them may be joined to what stands before it.
    """
    joined: list[Message] = []
    for message in (*messages, *followed_by[:1]):
        if joined and _can_join(joined[-1], message):
            content = _joined(joined[-1]["content"], message["content"])
            joined[-1] = {**message, "content": content}
        else:
            joined.append(message)
    if joined and joined[0]["role"] != "user":
        joined.insert(0, {"role": "user", "content": CONTINUED})
    return [*joined, *followed_by[1:]]


def _can_join(message: Message, following: Message) -> bool:
    """Whether two messages are turns of one role; calls of tools and their results stay apart."""
    role = message.get("role")
    return (
        role == following.get("role")
        and role in ("user", "assistant")
        and message.keys() == {"role", "content"}
        and following.keys() in ({"role", "content"}, {"role", "content", "tool_calls"})
    )


def _joined(content: Any, following: Any) -> Any:
    """Join two contents by a blank line: texts become one text, and parts one list."""
    if not content or not following:
        return content or following
    if isinstance(content, str) and isinstance(following, str):
        return f"{content}\n\n{following}"
    *parts, last = [text_part(content)] if isinstance(content, str) else content
    first, *others = [text_part(following)] if isinstance(following, str) else following
    if last.keys() == first.keys() == {"type", "text"}:
        return [*parts, text_part(f"{last['text']}\n\n{first['text']}"), *others]
    return [*parts, last, first, *others]


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


def _content(part: Part, quotes: Mapping[int, str], media: Message | None) -> Message | None:
    """Return a part as content; calls of tools and their results have places of their own."""
    if isinstance(part, Text):
        return text_part(part.text)
    if isinstance(part, Reply):
        quote = part.selected_text or quotes.get(int(part.message_id), "")
        return text_part(quoted(quote[:MAX_QUOTE_CHARS])) if quote else None
    return media


def _simplest(content: list[Message]) -> str | list[Message]:
    """Return plain text as a string, which every model server takes; a list only where there are images."""
    if all(item["type"] == "text" for item in content):
        return "\n".join(item["text"] for item in content)
    return content


def _system(profile: Profile) -> list[Message]:
    return [{"role": "system", "content": profile.system_prompt}] if profile.system_prompt else []


def _dialogue(plan: ReplyPlan) -> list[Message]:
    """Return the role's opening dialogue in OpenAI's form."""
    roles = cycle((MessageRole.USER.value, MessageRole.ASSISTANT.value))
    return [{"role": role, "content": text} for role, text in zip(roles, plan.begin_dialogs, strict=False)]


def _with_passages(messages: list[Message], passages: Sequence[FoundPassage]) -> list[Message]:
    return add_passages(messages, passages) if passages else messages
