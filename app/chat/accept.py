"""Accepting a message: one transaction writes the session, the message, the reply's place and the run."""

from uuid import uuid4

import msgspec
from sqlalchemy import Connection

from app.auth.models import Principal
from app.chat import store
from app.chat.commands import OnBusy, SendMessage
from app.chat.parts import Reply
from app.chat.plan import Planner, ReplyPlan, plan_reply
from app.chat.runs.events import Event, Started, UserMessageSaved
from app.chat.runs.queue import SessionQueue, Ticket
from app.chat.values import MessageRole, MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.errors import Conflict
from app.idempotency import Claim, record
from app.profiles.service import DEFAULT_ID
from app.roles.models import Role


def accept(
    connection: Connection,
    principal: Principal,
    command: SendMessage,
    role: Role | None,
    claim: Claim | None,
    *,
    run_id: str,
    ticket: Ticket,
    queue: SessionQueue,
    planner: Planner,
    owner: str,
) -> ReplyPlan:
    """Write all that makes a message accepted, and plan its reply.

    The ticket enters the queue in here, so that queue and messages have one order; the caller has it leave again when
    this is not committed. Raises BadRequest, Forbidden, Conflict, TooManyRequests, AlreadyClaimed.
    """
    now = utc_now()
    session = None
    session_id = None if command.stateless else ticket.key
    if session_id is not None:
        if command.session_id is not None:
            session = store.continue_session(connection, session_id, command.username, now)
        store.check_quotes(connection, session_id, [p.message_id for p in command.parts if isinstance(p, Reply)])
    requested = planner.requested_profile(command)
    begins_session = False
    if session_id is not None:
        # A request of a door where each names its model says nothing of the session's next one.
        lasting = requested if command.turn is None else None
        config_id = None if lasting is None or lasting.id == DEFAULT_ID else lasting.id
        if session is None:
            begins_session = store.add_session(
                connection, session_id, command.username, command.parts, config_id, now, command.platform_id
            )
            if not begins_session:  # another request has added it meanwhile
                session = store.continue_session(connection, session_id, command.username, now)
        if session is not None and lasting is not None:
            store.change_session(connection, session_id, {"config_id": config_id})
    profile = requested or planner.profile_for(role, session)
    targets = planner.targets(command, profile)
    record(connection, claim, {"run_id": run_id})
    if command.on_busy is OnBusy.REJECT and queue.is_busy(ticket.key):
        raise Conflict("The session is answering another message", code="session_busy")
    queue.enter(ticket, next_in_line=command.on_busy is OnBusy.INTERRUPT)
    run = Run(
        id=run_id,
        session_id=session_id,
        username=command.username,
        key_id=principal.key_id,
        status=RunStatus.QUEUED,
        streaming=command.streaming,
        message_id=command.message_id or str(uuid4()),
        config_id=profile.id,
        provider_id=targets[0].provider.id,
        model=targets[0].model,
        created_at=now,
    )
    if session_id is not None:
        run = _add_turn(connection, run, session_id, command)
    store.add_run(connection, run, owner, opening_events(run))
    return plan_reply(
        command,
        run,
        profile,
        targets,
        role,
        profile_requested=requested is not None,
        begins_session=begins_session,
    )


def opening_events(run: Run) -> list[Event]:
    """Return the first events of every run's log."""
    opening: list[Event] = [Started(run.session_id, run.id, run.message_id)]
    if run.user_message_id is not None:
        opening.append(UserMessageSaved(run.user_message_id, iso(run.created_at)))
    return opening


def _add_turn(connection: Connection, run: Run, session_id: str, command: SendMessage) -> Run:
    """Add the message and the place of its reply; the run with their ids."""
    complete, pending = MessageStatus.COMPLETE, MessageStatus.PENDING
    return msgspec.structs.replace(
        run,
        user_message_id=store.add_message(
            connection, session_id, run.id, MessageRole.USER, complete, command.parts, run.created_at
        ),
        reply_message_id=store.add_message(
            connection, session_id, run.id, MessageRole.ASSISTANT, pending, (), run.created_at
        ),
    )
