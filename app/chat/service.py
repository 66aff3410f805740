"""Chat: accepting messages, and following and stopping the runs that answer them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import uuid4
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from app.auth.models import Principal, check_not_reserved, is_reserved
from app.auth.scopes import Scope
from app.chat import message_store, run_store, session_store
from app.chat.accept import Planner, accept, opening_events
from app.chat.commands import OnBusy, SendMessage
from app.chat.fields import check_name
from app.chat.media import SHOWN_BY_NAME
from app.chat.ownership import check_session
from app.chat.parts import Part, Text, attachment_ids, check_attachments, from_stored
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import Completed, Ended, Event, Failed, MessageSaved, Ref, Refs
from app.chat.runs.log import RunLog
from app.chat.runs.mirrors import Mirrors
from app.chat.runs.queue import INTERRUPTED, Ticket
from app.chat.runs.reply import Content, content_of
from app.chat.runs.stopping import Stopper
from app.chat.runs.tool_parts import events_of
from app.chat.values import OPEN_STATUSES, MessageRole, MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import NotFound
from app.files.extracted_text import ExtractedTextService
from app.files.images import ImageReader
from app.files.models import Attachment, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.idempotency import AlreadyClaimed, Claim, Idempotency
from app.knowledge.service import KnowledgeService
from app.limits import ConcurrencyLimit
from app.roles.models import Role
from app.roles.service import RoleService
from app.usage.counters import RateState
from app.workers.turns import Caller


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed run, and its log; with `repeated`, those of an earlier request. `rates` is what is left of limits."""

    run: Run
    log: RunLog
    repeated: bool = False
    rates: RateState | None = None


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that waits or goes on, and its content so far; `revision` is the number of its last event."""

    run: Run
    status: RunStatus
    revision: int
    content: Content


@dataclass(frozen=True, slots=True)
class SavedMessage:
    id: int
    session_id: str
    created_at: datetime


class ChatService:
    """Sending, stopping, and reading runs; `owner` names this process in the runs that it makes."""

    def __init__(
        self,
        database: Database,
        engine: RunEngine,
        planner: Planner,
        files: FileService,
        documents: ExtractedTextService,
        images: ImageReader,
        idempotency: Idempotency,
        slots: ConcurrencyLimit,
        roles: RoleService,
        knowledge: KnowledgeService,
        mirrors: Mirrors,
        stopper: Stopper,
        owner: str,
    ) -> None:
        self._database = database
        self._engine = engine
        self._planner = planner
        self._files = files
        self._documents = documents
        self._images = images
        self._idempotency = idempotency
        self._slots = slots
        self._roles = roles
        self._knowledge = knowledge
        self._mirrors = mirrors
        self._stopper = stopper
        self._owner = owner
        # Logs of runs that are over, as long as somebody reads them.
        self._finished: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._reading: dict[str, asyncio.Task[RunLog | None]] = {}

    async def send(self, principal: Principal, command: SendMessage, claim: Claim | None = None) -> Accepted:
        """Store the message and start its run; a repeat of a claim gets the run that the first request started.

        Raises BadRequest, Forbidden, NotFound, Conflict, Unprocessable, TooManyRequests, Unavailable. When it raises,
        nothing is left behind. When the caller is cancelled, the message is accepted whole or not at all.
        """
        if command.stateless or not is_reserved(command.username):
            principal.check_user(command.username)
        else:  # in the key's own name, which other keys may have too
            check_session(principal, command.username, command.session_id)
        while True:
            if (first := await self.find_first(principal, claim)) is not None:
                return first
            self._engine.check_open()
            await self.check_attachments(
                principal, command.username, command.parts, came_along=command.turn is not None
            )
            role = await self._find_role(command)
            if command.knowledge is not None and command.knowledge.collections:
                await self._knowledge.collections_for(command.knowledge.collections, command.username)
            try:
                return await asyncio.shield(asyncio.create_task(self._accept(principal, command, role, claim)))
            except AlreadyClaimed:
                continue

    async def find_first(self, principal: Principal, claim: Claim | None) -> Accepted | None:
        """Find the run that an earlier request with this claim started. Raises Unprocessable, NotFound."""
        if claim is None or (first := await self._idempotency.find(claim)) is None:
            return None
        run = await self.get_run(principal, first["run_id"])
        return Accepted(run, await self.run_log(run, after=0), repeated=True)

    async def _accept(
        self, principal: Principal, command: SendMessage, role: Role | None, claim: Claim | None
    ) -> Accepted:
        slot = self._slots.take(principal.key_id)
        run_id = str(uuid4())
        # A run without a session has a queue to itself.
        ticket = Ticket(run_id if command.stateless else command.session_id or str(uuid4()), run_id)
        act = partial(
            accept,
            principal=principal,
            command=command,
            role=role,
            claim=claim,
            run_id=run_id,
            ticket=ticket,
            turns=self._engine.turns,
            planner=self._planner,
            owner=self._owner,
        )
        try:
            plan = await self._database.write(act)
        except BaseException as error:
            slot.release()
            self._engine.turns.leave(ticket)
            if isinstance(error, DatabaseUnavailable):  # it may have been stored after all
                self._engine.doubt(run_id)
            raise
        log = self._engine.start(plan, ticket, slot)
        if command.on_busy is OnBusy.INTERRUPT and not ticket.turn.is_set():
            self._engine.interrupt(ticket, Failed("stopped", INTERRUPTED))
        return Accepted(plan.run, log, rates=plan.rates)

    async def check_attachments(
        self, principal: Principal, username: str, parts: Sequence[Part], *, came_along: bool = False
    ) -> None:
        """Check the files that a message names; those of a request that brought them `came_along`.

        Raises BadRequest for attachments that the user does not have, Forbidden for a key that may not use files,
        DocumentRefused and ImageRefused for files that cannot be read.
        """
        if ids := attachment_ids(parts):
            if not came_along:
                principal.check_scope(Scope.FILE)
            attachments = await self._files.find_usable(set(ids), principal, username)
            check_attachments(parts, attachments)
            caller = Caller(principal.key_id, username)
            await self._check_files(attachments.values(), caller)

    async def _check_files(self, attachments: Iterable[Attachment], caller: Caller) -> None:
        for attachment in attachments:
            if attachment.type is Kind.IMAGE:
                await self._images.check_attachment(self._files, attachment, caller)
            elif attachment.type is Kind.FILE:
                try:
                    await self._documents.text_of(attachment, caller)
                except DocumentRefused as error:
                    if error.reason not in SHOWN_BY_NAME:
                        raise

    async def _find_role(self, command: SendMessage) -> Role | None:
        if command.role is None:
            return None
        # A key that acts in its own name acts for no user, and may use the role of any by its uuid.
        return await self._roles.get_for_use(command.role, command.username, any_owner=is_reserved(command.username))

    # Runs

    async def get_run(self, principal: Principal, run_id: str) -> Run:
        """Raises NotFound `Run not found`, also for a run of a user the key is not bound to."""
        run = await self._database.read(lambda connection: run_store.find_run(connection, run_id))
        if run is None or (principal.username is not None and principal.username != run.username):
            raise NotFound("Run not found", code="run_not_found")
        return run

    def progress_of(self, run: Run) -> tuple[RunStatus, datetime | None]:
        """Return the run's present status and start, which the database has after the next checkpoint."""
        return self._engine.progress_of(run.id) or (run.status, run.started_at)

    async def run_log(self, run: Run, after: int) -> RunLog:
        """Return the log of a run, going on or over, to be read from beyond the event `after`."""
        if (log := self._engine.log_of(run.id)) is not None:
            return log
        if run.status in OPEN_STATUSES:
            if run.owner == self._owner and (log := await self._engine.find_log(run)) is not None:
                return log
            return self._mirrors.follow(run)
        if (log := self._finished.get(run.id)) is not None:
            return log
        # Who comes while the first one reads waits for the same log: its readers share it.
        if (reading := self._reading.get(run.id)) is None:
            reading = self._reading[run.id] = asyncio.create_task(self._read_log(run))
            reading.add_done_callback(lambda _: self._reading.pop(run.id, None))
        if (log := await asyncio.shield(reading)) is not None:
            return log
        return RunLog.of(
            await self._database.read(
                lambda connection: _rebuilt(connection, run_store.find_run(connection, run.id) or run, after)
            )
        )

    async def _read_log(self, run: Run) -> RunLog | None:
        """Read the log of a run that is over; None if it has been dropped."""
        events = await self._database.read(lambda connection: run_store.run_events(connection, run.id))
        if not events:
            return None
        log = RunLog.of(events)
        self._finished[run.id] = log
        return log

    async def active_runs(self, session_id: str) -> list[ActiveRun]:
        """Return the runs of a session that wait or go on, on whichever server, with what they have said so far."""
        runs = await self._database.read(lambda connection: run_store.open_runs(connection, session_id))
        active = []
        for run in runs:
            if (log := self._engine.log_of(run.id)) is not None:
                events = list(enumerate(log.events, 1))
            else:
                events = await self._database.read(partial(run_store.run_events, run_id=run.id))
            content = content_of([event for _, event in events])
            active.append(ActiveRun(run, self.progress_of(run)[0], events[-1][0] if events else 0, content))
        return active

    async def stop_session(self, principal: Principal, username: str, session_id: str) -> list[str]:
        """End all runs of a session, waiting ones included; their ids. Raises NotFound, Forbidden."""
        check_session(principal, username, session_id)
        await self._database.read(lambda connection: session_store.get_session(connection, session_id, username))
        return await self._stopper.stop_session(session_id)

    async def stop_run(self, principal: Principal, run_id: str) -> bool:
        """End one run; False when it was over already. Raises NotFound."""
        run = await self.get_run(principal, run_id)
        return bool(await self._stopper.stop_run(run.id))

    # Messages of a bot's own

    async def add_bot_message(
        self,
        session_id: str,
        parts: Sequence[Part],
        *,
        creator_if_new: str,
        username: str | None = None,
        dedupe_key: str | None = None,
    ) -> SavedMessage:
        """Add a message of the bot's own to a session, which is made for `creator_if_new` if there is none.

        With `username`, the session must be that user's. A message is added once for a `dedupe_key`. Raises Forbidden,
        and BadRequest for a quotation of another session's message, or for a new session with a reserved creator.
        """
        check_name("session_id", session_id)
        now = utc_now()

        def add(connection: Connection) -> SavedMessage:
            if username is not None:
                session_store.find_session(connection, session_id, username)
            if (
                dedupe_key is not None
                and (first := message_store.find_deduped_message(connection, dedupe_key)) is not None
            ):
                return SavedMessage(first.id, first.session_id, first.created_at)
            message_store.check_quotes(connection, session_id, parts)
            if not session_store.touch_session(connection, session_id, now):
                check_not_reserved(creator_if_new)
                added = session_store.add_session(connection, session_id, creator_if_new, parts, None, now)
                if not added and username is not None:  # another request has added it meanwhile
                    session_store.find_session(connection, session_id, username)
            message_id = message_store.add_message(
                connection, session_id, None, MessageRole.ASSISTANT, MessageStatus.COMPLETE, parts, now, dedupe_key
            )
            return SavedMessage(message_id, session_id, now)

        return await self._database.write(add)

    async def creator_of(self, session_id: str) -> str | None:
        """Return the session's creator; None when there is no such session."""
        return await self._database.read(lambda connection: session_store.find_creator(connection, session_id))


def _rebuilt(connection: Connection, run: Run, after: int) -> list[tuple[int, Event]]:
    """Make a log for a run whose own was dropped: its reply, whole, numbered on from where the reader is."""
    reply = message_store.find_reply(connection, run)
    parts = () if reply is None else from_stored(reply.parts)
    text = "".join(part.text for part in parts if isinstance(part, Text))
    events: list[Event] = []
    if after == 0:
        events += opening_events(run)
        if reply is not None and reply.refs:
            events.append(Refs([Ref(**ref) for ref in reply.refs]))
        events += events_of(parts)
    if run.status == RunStatus.COMPLETED:
        events.append(Completed(text, "" if reply is None else reply.reasoning))
    if text and reply is not None:
        events.append(MessageSaved(reply.id, iso(reply.created_at)))
    if run.status not in (RunStatus.COMPLETED, *OPEN_STATUSES):
        events.append(Failed(run.error_code or "interrupted", run.error or "The reply was not completed"))
    return list(enumerate([*events, Ended()], after + 1))
