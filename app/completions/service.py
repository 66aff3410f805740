"""Completions: a request in OpenAI's form as a message to the chat service."""

from collections.abc import Sequence

import msgspec

from app.auth.models import Principal
from app.chat.commands import INSTRUCTIONS, ModelTurn, SendMessage
from app.chat.ownership import session_id_of
from app.chat.parts import Part, PartLimits, Text, ToolResult
from app.chat.prompt import with_defaults
from app.chat.service import Accepted, ChatService
from app.chat.values import API
from app.completions.catalog import ModelCatalog, ModelChoice
from app.completions.content import ContentReader, DiscardFiles, FileSink, KeepAsAttachments, TurnContent
from app.completions.errors import CompletionFailed, InvalidRequest
from app.completions.values import CompletionRequest, MessageParam
from app.errors import Conflict
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.reader import DocumentReader
from app.files.images import ImageReader
from app.files.service import FileService
from app.idempotency import Claim
from app.limits import ConcurrencyLimit
from app.profiles.models import Profile
from app.providers.models import UpstreamError
from app.roles.service import RoleService
from app.usage.calls import CallLimits
from app.workers.turns import Caller

MAX_CALL_ID_CHARS = 4_096
"""Some model servers put more than a name into the ids of their calls."""


class CompletionService:
    """Accept requests, and start their runs."""

    def __init__(
        self,
        chat: ChatService,
        catalog: ModelCatalog,
        files: FileService,
        documents: ExtractedTextService,
        reader: DocumentReader,
        images: ImageReader,
        limits: PartLimits,
        document_chars: int,
        runs: ConcurrencyLimit,
        roles: RoleService,
        calls: CallLimits,
    ) -> None:
        self._chat = chat
        self._catalog = catalog
        self._files = files
        self._documents = documents
        self._reader = reader
        self._content = ContentReader(images, document_chars)
        self._limits = limits
        self._runs = runs
        self._roles = roles
        self._calls = calls

    async def complete(self, principal: Principal, request: CompletionRequest, claim: Claim | None) -> Accepted:
        """Start the run of a request; a repeat gets the first request's run.

        Raises what ChatService.send does, ModelNotFound, NotFound for an unknown role, InvalidRequest, and refusals of
        files. When it raises, nothing is left behind.
        """
        if (repeat := await self._chat.find_first(principal, claim)) is not None:
            return repeat
        choice = await self._choose(principal, request)
        if request.stateless_if_busy:
            try:
                return await self._start(principal, request, choice, claim)
            except Conflict as error:
                if error.code != "session_busy":
                    raise
            request = request.without_session()
        return await self._start(principal, request, choice, claim)

    async def _start(
        self, principal: Principal, request: CompletionRequest, choice: ModelChoice, claim: Claim | None
    ) -> Accepted:
        caller = Caller(principal.key_id, principal.creator)
        sink: FileSink = DiscardFiles(self._reader, caller)
        if request.session is not None:
            self._check_parts(request.messages)
            sink = KeepAsAttachments(self._files, self._documents, principal, caller)
        accepted = None
        try:
            content = await self._content.read(request.messages, sink, caller)
            if request.session is not None:
                self._check_length(content.parts)
            accepted = await self._chat.send(principal, _message(principal, request, choice, content), claim)
        finally:
            if accepted is None or accepted.repeated:
                await sink.undo()
        return accepted

    async def _choose(self, principal: Principal, request: CompletionRequest) -> ModelChoice:
        if request.role is None:
            return await self._catalog.choose(request.model)
        role = await self._roles.get_for_use(request.role, principal.creator, any_owner=principal.username is None)
        if request.model is None and role.config_id is not None:
            return self._catalog.profile(role.config_id)
        return await self._catalog.choose(request.model)

    async def embed(self, principal: Principal, model: str, body: dict[str, object]) -> bytes:
        """The model server's answer to a request for embeddings.

        Raises ModelNotFound, CompletionFailed, Forbidden, TooManyRequests.
        """
        choice = await self._catalog.choose(model)
        provider = self._catalog.provider_of(choice)
        name = choice.model or provider.default_model
        slot = self._runs.take(principal.key_id)
        try:
            async with self._calls.limited(principal, provider.id, name, body) as call:
                call.answer = await provider.call("/embeddings", {**body, "model": name})
        except UpstreamError as error:
            raise CompletionFailed.from_upstream(error) from error
        else:
            return call.answer
        finally:
            slot.release()

    def _check_parts(self, messages: Sequence[MessageParam]) -> None:
        """Hold a message to a session to the limits of a stored one. Raises InvalidRequest."""
        count = 0
        for index, message in enumerate(messages):
            content, call_id = message.get("content"), message.get("tool_call_id")
            count += len(content) if isinstance(content, list) else 1
            if isinstance(call_id, str) and len(call_id) > MAX_CALL_ID_CHARS:
                problem = f"tool_call_id has more than {MAX_CALL_ID_CHARS} characters"
                raise InvalidRequest(problem, f"messages[{index}].tool_call_id")
        if count > self._limits.parts:
            problem = f"A message to a session has at most {self._limits.parts} parts"
            raise InvalidRequest(problem, "messages", code="message_too_long")

    def _check_length(self, parts: list[Part]) -> None:
        chars = sum(len(part.text) for part in parts if isinstance(part, Text | ToolResult))
        if chars > self._limits.chars:
            problem = f"A message to a session has at most {self._limits.chars} characters"
            raise InvalidRequest(problem, "messages", code="message_too_long")


def _message(
    principal: Principal, request: CompletionRequest, choice: ModelChoice, content: TurnContent
) -> SendMessage:
    name = request.session
    return SendMessage(
        username=principal.creator,
        parts=() if name is None else tuple(content.parts),
        session_id=None if name is None else session_id_of(principal, name),
        provider_id=choice.provider_id,
        model=choice.model,
        config_id=choice.config_id,
        streaming=request.stream,
        on_busy=request.on_busy,
        platform_id=API,
        turn=_turn(request, choice.profile, content.messages),
        stateless=name is None,
        role=request.role,
        knowledge=request.knowledge,
        tools=request.tools,
    )


def _turn(request: CompletionRequest, profile: Profile | None, messages: Sequence[MessageParam]) -> ModelTurn:
    """The turn; without a session, the requested profile adds instructions and parameters of its own."""
    if request.session is not None:
        return ModelTurn(messages, request.system, request.params)
    chosen = dict(request.params)
    system: Sequence[MessageParam] = ()
    if profile is not None:
        chosen = with_defaults(chosen, msgspec.to_builtins(profile.parameters))
        has_instructions = any(message["role"] in INSTRUCTIONS for message in request.messages)
        if profile.system_prompt and not has_instructions:
            system = [{"role": "system", "content": profile.system_prompt}]
    params = with_defaults(chosen, request.defaults)
    return ModelTurn(messages, system, params, defaults=frozenset(params.keys() - chosen.keys()))
