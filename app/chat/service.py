"""Chat: a message is accepted in one transaction, and its run started, whoever goes on listening."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from sqlalchemy import Connection, insert, select, update

from app.auth.models import Principal
from app.chat import statements
from app.chat.commands import OnBusy, SendRequest, check_name
from app.chat.models import MessageRow, SessionRow
from app.chat.parts import Part, Reply, attachment_ids, check_attachments, from_stored, plain_text
from app.chat.passages import question_of
from app.chat.preparation import Brief, Preparation
from app.chat.prompt import SHOWN_BY_NAME, PromptBuilder
from app.chat.rows import add_session, message_values
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import (
    Completed,
    Ended,
    Event,
    Failed,
    MessageSaved,
    Ref,
    Refs,
    Started,
    TextDelta,
    UserMessageSaved,
)
from app.chat.runs.jobs import Job, Target
from app.chat.runs.log import RunLog
from app.chat.runs.queue import Ticket
from app.chat.sessions import check_quotes, find_session, get_session
from app.chat.store import RunStore
from app.chat.values import OPEN_STATUSES, MessageRole, MessageStatus, Run, RunStatus, Session
from app.clock import iso, utc_now
from app.database.engine import Database
from app.errors import BadRequest, Conflict, NotFound
from app.files.extracted_text import ExtractedTextService
from app.files.models import Attachment, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.idempotency import AlreadyClaimed, Claim, Idempotency, record
from app.ids import new_id
from app.knowledge.service import KnowledgeService
from app.limits import ConcurrencyLimit
from app.profiles.models import Profile, ProfileKnowledge
from app.profiles.service import DEFAULT_ID, ProfileService
from app.providers.client import Provider
from app.providers.service import ProviderRegistry
from app.roles.models import Role as BotRole
from app.roles.service import RoleService


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that was committed, and its log; with `repeated`, it is what came of an earlier request."""

    run: Run
    log: RunLog
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class SavedMessage:
    id: int
    session_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Choice:
    """How a message is to be answered: the targets in the order in which they are asked.

    `chosen` is the profile that the request itself names, which its session goes on with.
    """

    profile: Profile
    targets: Sequence[Target]
    chosen: Profile | None


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message that was accepted: its run, with its place in the queue and what its log begins with. `first` are its
    parts, when it began its session."""

    run: Run
    ticket: Ticket
    choice: _Choice
    opening: Sequence[Event]
    first: tuple[Part, ...] | None


class ChatService:
    """Sending, stopping, and reading runs."""

    def __init__(
        self,
        database: Database,
        store: RunStore,
        engine: RunEngine,
        profiles: ProfileService,
        providers: ProviderRegistry,
        files: FileService,
        prompts: PromptBuilder,
        documents: ExtractedTextService,
        idempotency: Idempotency,
        runs: ConcurrencyLimit,
        roles: RoleService,
        knowledge: KnowledgeService,
    ) -> None:
        self._database = database
        self._store = store
        self._engine = engine
        self._profiles = profiles
        self._providers = providers
        self._files = files
        self._prompts = prompts
        self._documents = documents
        self._idempotency = idempotency
        self._runs = runs
        self._roles = roles
        self._knowledge = knowledge

    async def send(self, principal: Principal, request: SendRequest, claim: Claim | None = None) -> Accepted:
        """Store the message, start its run; a repeat of a claim gets the run that the first one started.

        Raises BadRequest, Forbidden, NotFound, Conflict, Unprocessable, TooManyRequests, Unavailable. When it raises,
        nothing is left behind. When the caller is cancelled meanwhile, the message is accepted whole or not at all.
        """
        principal.check_user(request.username)
        while True:
            if (first := await self.find_first(principal, claim)) is not None:
                return first
            try:
                return await self._send(principal, request, claim)
            except AlreadyClaimed:
                continue

    async def find_first(self, principal: Principal, claim: Claim | None) -> Accepted | None:
        """The run that an earlier request with this claim started. Raises Unprocessable, NotFound."""
        if claim is None or (first := await self._idempotency.find(claim)) is None:
            return None
        run = await self.get_run(principal, first["run_id"])
        return Accepted(run, await self.run_log(run, after=0), repeated=True)

    async def _send(self, principal: Principal, request: SendRequest, claim: Claim | None) -> Accepted:
        self._engine.check_open()
        wanted = attachment_ids(request.parts)
        if wanted:
            found = await self._files.find_many(set(wanted), principal)
            check_attachments(request.parts, found)
            await self._check_documents(found.values())
        role = None
        if request.role is not None:
            unbound = principal.username is None
            role = await self._roles.get_for_use(request.role, request.username, any_owner=unbound)
        if request.knowledge is not None and request.knowledge.collections:
            await self._knowledge.collections_for(request.knowledge.collections, request.username)
        return await asyncio.shield(asyncio.create_task(self._accept(principal, request, role, claim)))

    async def _check_documents(self, attachments: Iterable[Attachment]) -> None:
        """Read what is to be read before the message is accepted. Raises DocumentRefused for what cannot be; files
        that are no documents are shown to the model by their names."""
        for attachment in attachments:
            if attachment.type is Kind.FILE:
                try:
                    await self._documents.text_of(attachment)
                except DocumentRefused as refused:
                    if refused.reason not in SHOWN_BY_NAME:
                        raise

    async def _accept(
        self, principal: Principal, request: SendRequest, role: BotRole | None, claim: Claim | None
    ) -> Accepted:
        place = self._runs.take(principal.key_id)
        tickets: list[Ticket] = []
        try:
            turn = await self._database.write(
                lambda connection: self._write(connection, principal, request, role, claim, tickets)
            )
        except BaseException:
            place.release()
            for ticket in tickets:
                self._engine.queue.leave(ticket)
            raise
        run = turn.run
        brief = _brief(request, turn, role)
        prepare = Preparation(run, brief, self._prompts, self._roles, self._knowledge)
        log = self._engine.start(Job(run, turn.ticket, place, turn.choice.targets, prepare, turn.opening))
        if request.on_busy is OnBusy.INTERRUPT and run.session_id is not None and not turn.ticket.turn.is_set():
            self._engine.interrupt(run.session_id, Failed("stopped", "The reply was interrupted by another message"))
        return Accepted(run, log)

    def _write(
        self,
        connection: Connection,
        principal: Principal,
        request: SendRequest,
        role: BotRole | None,
        claim: Claim | None,
        tickets: list[Ticket],
    ) -> _Turn:
        """All that is written when a message is accepted; in the database's thread. Who enters the queue is added to
        `tickets` at once: the place must be given up when this is not committed."""
        session_id = None if request.stateless else request.session_id or new_id()
        session = None
        if session_id is not None:
            if request.session_id is not None:
                session = find_session(connection, session_id, request.username)
            quotes = [part.message_id for part in request.parts if isinstance(part, Reply)]
            check_quotes(connection, session_id, quotes)
        choice = self._choose(request, session, role)
        run_id = new_id()
        record(connection, claim, {"run_id": run_id})
        # Inside the transaction: places in the queue are in the order of the messages. A run without a
        # session has a queue to itself.
        ticket = self._enter(session_id or run_id, request.on_busy)
        tickets.append(ticket)
        run = _new_run(principal, request, session_id, run_id, choice)
        if session_id is not None:
            run = _write_turn(connection, request, session, session_id, run, choice)
        opening = _opening(run)
        self._store.open(connection, run, opening)
        return _Turn(run, ticket, choice, opening, request.parts if session is None else None)

    def _enter(self, session_id: str, on_busy: OnBusy) -> Ticket:
        queue = self._engine.queue
        if on_busy is OnBusy.REJECT and queue.is_busy(session_id):
            raise Conflict("The session is answering another message", code="session_busy")
        return queue.enter(session_id, next_in_line=on_busy is OnBusy.INTERRUPT)

    def _choose(self, request: SendRequest, session: Session | None, role: BotRole | None) -> _Choice:
        chosen = None
        if request.config_id is not None:
            chosen = self._profiles.get(request.config_id)
        elif request.config_name is not None:
            chosen = self._profiles.get_by_name(request.config_name)
        # A session whose profile was deleted, or a role whose profile was, goes on with the next one.
        ids = (role and role.config_id, session and session.config_id)
        known = (profile for id in ids if id and (profile := self._profiles.find(id)))
        profile = chosen or next(known, None) or self._profiles.get(DEFAULT_ID)
        provider_id = request.provider_id or profile.provider
        provider = self._provider(provider_id, by_request=request.provider_id is not None)
        own_model = profile.model if provider_id == profile.provider else None
        model = request.model or own_model or provider.default_model
        if not provider.accepts(model):
            raise BadRequest(f"selected_model not found: {model}", code="model_not_found")
        fallbacks = [self._provider(id, by_request=False) for id in profile.fallbacks if id != provider.id]
        return _Choice(
            profile,
            [Target(provider, model), *(Target(fallback, fallback.default_model) for fallback in fallbacks)],
            chosen,
        )

    def _provider(self, provider_id: str | None, *, by_request: bool) -> Provider:
        if provider_id is None:
            return self._providers.default
        try:
            return self._providers.get(provider_id)
        except KeyError:
            field = "selected_provider" if by_request else "the profile's provider"
            raise BadRequest(f"{field} not found: {provider_id}", code="provider_not_found") from None

    # Runs

    async def get_run(self, principal: Principal, run_id: str) -> Run:
        """The run as it stands. Raises NotFound `Run not found`, also for a run of a user the key is not bound to."""
        run = await self._store.find(run_id)
        if run is None or (principal.username is not None and principal.username != run.username):
            raise NotFound("Run not found", code="run_not_found")
        return run

    def progress_of(self, run: Run) -> tuple[RunStatus, datetime | None]:
        """The run's status and start by this minute; the database hears of a start with the next checkpoint."""
        return self._engine.progress_of(run.id) or (run.status, run.started_at)

    async def run_log(self, run: Run, after: int) -> RunLog:
        """The log of a run, going on or over, to be read from beyond the event `after`."""
        if (log := await self._engine.log_when_started(run)) is not None:
            return log
        run = await self._store.find(run.id) or run
        if events := await self._store.events(run.id):
            return RunLog.of(events)
        return RunLog.of(await self._rebuilt(run, after))

    async def _rebuilt(self, run: Run, after: int) -> list[tuple[int, Event]]:
        """What can be told of a run whose log was dropped: its reply, whole, numbered on from where the reader is."""
        reply = await self._store.reply(run)
        text = "" if reply is None else plain_text(from_stored(reply.parts))
        events: list[Event] = []
        if after == 0:
            events += [
                *_opening(run),
                *([Refs([Ref(**ref) for ref in reply.refs])] if reply is not None and reply.refs else []),
                *([TextDelta(text)] if text else []),
            ]
        if run.status == RunStatus.COMPLETED:
            events.append(Completed(text, "" if reply is None else reply.reasoning))
        if text and reply is not None:
            events.append(MessageSaved(reply.id, iso(reply.created_at)))
        if run.status not in (RunStatus.COMPLETED, *OPEN_STATUSES):
            events.append(Failed(run.error_code or "interrupted", run.error or "The reply was not completed"))
        return list(enumerate([*events, Ended()], after + 1))

    async def stop_session(self, principal: Principal, username: str, session_id: str) -> list[str]:
        """End all runs of a session, waiting ones included; their ids. Raises NotFound, Forbidden."""
        principal.check_user(username)
        await self._database.read(lambda connection: get_session(connection, session_id, username))
        return await self._stop(self._engine.open_runs(session_id))

    async def stop_run(self, principal: Principal, run_id: str) -> bool:
        """End one run; False when it was over already. Raises NotFound."""
        run = await self.get_run(principal, run_id)
        return bool(await self._stop([run.id]))

    async def _stop(self, run_ids: Sequence[str]) -> list[str]:
        return await self._engine.stop(run_ids, Failed("stopped", "The reply was stopped"))

    # Messages that nobody asked for

    async def add_bot_message(
        self,
        session_id: str,
        parts: Sequence[Part],
        *,
        creator_if_new: str,
        username: str | None = None,
        dedupe_key: str | None = None,
    ) -> SavedMessage:
        """Add a message of the bot's own to a session, which is made, for `creator_if_new`, if there is none.

        With `username`, the session must be that user's. A reply being written is not touched: its place was kept when
        it began. A message with a `dedupe_key` that was added before is not added again. Raises Forbidden, BadRequest
        for a quotation of another session's message.
        """
        check_name("session_id", session_id)
        now = utc_now()

        def write(connection: Connection) -> SavedMessage:
            if username is not None:
                find_session(connection, session_id, username)
            if dedupe_key is not None and (known := _find_deduped(connection, dedupe_key)) is not None:
                return known
            quotes = [part.message_id for part in parts if isinstance(part, Reply)]
            check_quotes(connection, session_id, quotes)
            if not statements.TOUCH_SESSION.change(connection, session_id=session_id, updated_at=now):
                add_session(connection, session_id, creator_if_new, parts, None, now)
            values = message_values(session_id, None, MessageRole.ASSISTANT, MessageStatus.COMPLETE, parts, now)
            values["dedupe_key"] = dedupe_key
            added = connection.execute(insert(MessageRow).values(values).returning(MessageRow.id))
            return SavedMessage(added.scalar_one(), session_id, now)

        return await self._database.write(write)


def _find_deduped(connection: Connection, dedupe_key: str) -> SavedMessage | None:
    query = select(MessageRow.id, MessageRow.session_id, MessageRow.created_at)
    row = connection.execute(query.where(MessageRow.dedupe_key == dedupe_key)).first()
    return None if row is None else SavedMessage(row.id, row.session_id, row.created_at)


def _new_run(principal: Principal, request: SendRequest, session_id: str | None, run_id: str, choice: _Choice) -> Run:
    return Run(
        id=run_id,
        session_id=session_id,
        username=request.username,
        key_id=principal.key_id,
        status=RunStatus.QUEUED,
        streaming=request.streaming,
        user_message_id=None,
        reply_message_id=None,
        message_id=request.message_id or new_id(),
        config_id=choice.profile.id,
        provider_id=choice.targets[0].provider.id,
        model=choice.targets[0].model,
        error_code=None,
        error=None,
        created_at=utc_now(),
        started_at=None,
        finished_at=None,
    )


def _write_turn(
    connection: Connection,
    request: SendRequest,
    session: Session | None,
    session_id: str,
    run: Run,
    choice: _Choice,
) -> Run:
    """The session, the message and the place of its reply; the run, which now knows them."""
    now = run.created_at
    # A request of a door where each names its model says nothing of the next one.
    chosen = choice.chosen if request.turn is None else None
    config_id = None if chosen is None or chosen.id == DEFAULT_ID else chosen.id
    if session is None:
        add_session(
            connection, session_id, request.username, request.parts, config_id, now, platform_id=request.platform_id
        )
    elif chosen is not None:
        touched = update(SessionRow).where(SessionRow.id == session_id)
        connection.execute(touched.values(updated_at=now, config_id=config_id))
    else:
        statements.TOUCH_SESSION.change(connection, session_id=session_id, updated_at=now)
    question = message_values(session_id, run.id, MessageRole.USER, MessageStatus.COMPLETE, request.parts, now)
    reply = message_values(session_id, run.id, MessageRole.ASSISTANT, MessageStatus.PENDING, (), now)
    asked, answered = statements.ADD_MESSAGE.insert_all(connection, [question, reply])
    return msgspec.structs.replace(run, user_message_id=asked.id, reply_message_id=answered.id)


def _brief(request: SendRequest, turn: _Turn, role: BotRole | None) -> Brief:
    profile = turn.choice.profile
    if request.stateless and turn.choice.chosen is None and (role is None or role.config_id != profile.id):
        # Who brings the whole conversation along gets of a profile only what it asks for.
        profile = replace(profile, role=None, knowledge=ProfileKnowledge())
    question = question_of(request.turn.messages) if request.stateless and request.turn else plain_text(request.parts)
    return Brief(profile, role, request.knowledge, request.turn, question, turn.first)


def _opening(run: Run) -> list[Event]:
    """What every run's log begins with."""
    opening: list[Event] = [Started(run.session_id, run.id, run.message_id)]
    if run.user_message_id is not None:
        opening.append(UserMessageSaved(run.user_message_id, iso(run.created_at)))
    return opening
