"""Completions: a request of this door as a message to the chat service, which makes the reply."""

from dataclasses import replace

from app.auth.models import Principal
from app.chat.commands import INSTRUCTIONS, ModelTurn, SendRequest
from app.chat.parts import Part, PartLimits, Text, ToolResult
from app.chat.prompt import with_defaults
from app.chat.service import Accepted, ChatService
from app.chat.values import API, KEYS_PREFIX
from app.completions.catalog import ModelCatalog, ModelChoice
from app.completions.content import ContentReader, DiscardFiles, KeepAsAttachments, PreparedMessages
from app.completions.errors import InvalidRequest, failure_of
from app.completions.requests import CompletionRequest
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.reader import DocumentReader
from app.files.images import ImageReader
from app.files.service import FileService
from app.idempotency import Claim
from app.limits import ConcurrencyLimit
from app.providers.models import UpstreamError
from app.roles.service import RoleService


class CompletionService:
    """Takes requests in, and starts their runs."""

    def __init__(
        self,
        chat: ChatService,
        catalog: ModelCatalog,
        files: FileService,
        documents: ExtractedTextService,
        reader: DocumentReader,
        images: ImageReader,
        limits: PartLimits,
        runs: ConcurrencyLimit,
        roles: RoleService,
    ) -> None:
        self._chat = chat
        self._catalog = catalog
        self._files = files
        self._documents = documents
        self._reader = reader
        self._content = ContentReader(images)
        self._limits = limits
        self._runs = runs
        self._roles = roles

    async def complete(self, principal: Principal, request: CompletionRequest, claim: Claim | None) -> Accepted:
        """The run that answers the request; a repeat gets the run that the first one started.

        Raises what ChatService.send does, ModelNotFound, NotFound for an unknown role, InvalidRequest, and refusals of
        files. When it raises, nothing is left behind.
        """
        if (first := await self._chat.find_first(principal, claim)) is not None:
            return first
        choice = await self._choose(principal, request)
        if request.session is None:
            prepared = await self._content.prepare(request.messages, DiscardFiles(self._reader))
            return await self._chat.send(principal, _stateless(principal, request, choice, prepared), claim)
        shelf = KeepAsAttachments(self._files, self._documents, principal)
        accepted = None
        try:
            prepared = await self._content.prepare(request.messages, shelf)
            self._check_length(prepared.parts)
            accepted = await self._chat.send(principal, _in_session(principal, request, choice, prepared), claim)
        finally:
            if accepted is None or accepted.repeated:
                await shelf.discard()
        return accepted

    async def _choose(self, principal: Principal, request: CompletionRequest) -> ModelChoice:
        if request.role is None:
            return await self._catalog.choose(request.model)
        unbound = principal.username is None
        role = await self._roles.get_for_use(request.role, creator_of(principal), any_owner=unbound)
        if request.model is None and role.config_id is not None:
            return self._catalog.profile(role.config_id)
        return await self._catalog.choose(request.model)

    async def embed(self, principal: Principal, model: str, body: dict[str, object]) -> bytes:
        """What the model server answers to a request for embeddings. Raises ModelNotFound, ReplyFailed,
        TooManyRequests."""
        choice = await self._catalog.choose(model)
        provider = self._catalog.provider_of(choice)
        place = self._runs.take(principal.key_id)
        try:
            return await provider.call("/embeddings", {**body, "model": choice.model or provider.default_model})
        except UpstreamError as error:
            raise failure_of(error) from error
        finally:
            place.release()

    def _check_length(self, parts: list[Part]) -> None:
        chars = sum(len(part.text) for part in parts if isinstance(part, Text | ToolResult))
        if chars > self._limits.chars:
            problem = f"A message to a session has at most {self._limits.chars} characters"
            raise InvalidRequest(problem, "messages", code="message_too_long")


def creator_of(principal: Principal) -> str:
    """Whose sessions a key's are in the Open API."""
    return principal.username or f"api:{principal.name}"


def session_id_of(principal: Principal, name: str) -> str:
    """The session that a key means by a name; another key means another session by it."""
    return f"{KEYS_PREFIX}{principal.key_id}:{name}"


def _in_session(
    principal: Principal, request: CompletionRequest, choice: ModelChoice, prepared: PreparedMessages
) -> SendRequest:
    assert request.session is not None
    turn = ModelTurn(prepared.messages, request.system, request.params)
    return SendRequest(
        username=creator_of(principal),
        parts=tuple(prepared.parts),
        session_id=session_id_of(principal, request.session),
        provider_id=choice.provider_id,
        model=choice.model,
        config_id=choice.config_id,
        streaming=request.stream,
        on_busy=request.on_busy,
        platform_id=API,
        turn=turn,
        role=request.role,
        knowledge=request.knowledge,
    )


def _stateless(
    principal: Principal, request: CompletionRequest, choice: ModelChoice, prepared: PreparedMessages
) -> SendRequest:
    """The messages as they are; a profile that was asked for by its name brings what the request does not say."""
    turn = ModelTurn(prepared.messages, params=with_defaults(request.params, request.defaults))
    if (profile := choice.profile) is not None:
        instructed = any(message["role"] in INSTRUCTIONS for message in request.messages)
        prompt = [{"role": "system", "content": profile.system_prompt}]
        turn = replace(
            turn,
            system=prompt if profile.system_prompt and not instructed else (),
            params=with_defaults(request.params, with_defaults(profile.parameters, request.defaults)),
        )
    return SendRequest(
        username=creator_of(principal),
        parts=(),
        provider_id=choice.provider_id,
        model=choice.model,
        config_id=choice.config_id,
        streaming=request.stream,
        turn=turn,
        stateless=True,
        role=request.role,
        knowledge=request.knowledge,
    )
