"""Accepting a message: one transaction writes the session, the message, the reply's place and the run."""

from datetime import datetime
from uuid import uuid4

import msgspec
from sqlalchemy import Connection

from app.auth.models import Principal
from app.chat import message_store, run_store, session_store, tree_store
from app.chat.commands import SendMessage
from app.chat.limits import check_allowed, reserve
from app.chat.parts import plain_text
from app.chat.passages import question_of
from app.chat.plan import ReplyPlan, Target
from app.chat.runs.events import Event, Started, UserMessageSaved
from app.chat.runs.queue import Ticket, Turns
from app.chat.values import MessageRole, MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.errors import BadRequest
from app.idempotency import Claim, record
from app.profiles.models import Profile, ProfileKnowledge
from app.profiles.service import DEFAULT_ID, ProfileService
from app.providers.client import Provider
from app.providers.service import ProviderRegistry
from app.roles.models import Role
from app.tools.models import ToolPolicy
from app.usage.prices import PriceTable

_NO_KNOWLEDGE = ProfileKnowledge()


class Planner:
    """Chooses which profile answers a message, and which models are asked in which order."""

    def __init__(self, profiles: ProfileService, providers: ProviderRegistry, prices: PriceTable) -> None:
        self._profiles = profiles
        self._providers = providers
        self.prices = prices

    def requested_profile(self, command: SendMessage) -> Profile | None:
        """Return the profile that the request names. Raises BadRequest for one that does not exist."""
        if command.config_id is not None:
            return self._profiles.get(command.config_id)
        if command.config_name is not None:
            return self._profiles.get_by_name(command.config_name)
        return None

    def profile_for(self, role: Role | None, config_id: str | None) -> Profile:
        """Return the role's profile, else that of the id, else the default; one that was deleted is passed over."""
        for profile_id in (role and role.config_id, config_id):
            if profile_id and (profile := self._profiles.find(profile_id)) is not None:
                return profile
        return self._profiles.get(DEFAULT_ID)

    def targets(self, command: SendMessage, profile: Profile) -> list[Target]:
        """Return the model that answers, and those to fall back to. Raises BadRequest for unknown ones."""
        provider_id = command.provider_id or profile.provider
        provider = self._provider(provider_id, "selected_provider" if command.provider_id else "the profile's provider")
        model = command.model or (provider_id == profile.provider and profile.model) or provider.default_model
        if not provider.accepts(model):
            raise BadRequest(f"selected_model not found: {model}", code="model_not_found")
        fallbacks = [
            self._provider(each, "the profile's provider") for each in profile.fallbacks if each != provider.id
        ]
        return [Target(provider, model), *(Target(fallback, fallback.default_model) for fallback in fallbacks)]

    def _provider(self, provider_id: str | None, field: str) -> Provider:
        if provider_id is None:
            return self._providers.default
        try:
            return self._providers.get(provider_id)
        except KeyError:
            raise BadRequest(f"{field} not found: {provider_id}", code="provider_not_found") from None


def accept(
    connection: Connection,
    principal: Principal,
    command: SendMessage,
    role: Role | None,
    claim: Claim | None,
    *,
    run_id: str,
    ticket: Ticket,
    turns: Turns,
    planner: Planner,
    owner: str,
) -> ReplyPlan:
    """Write all that makes a message accepted, and plan its reply.

    The ticket enters the queue in here, so that queue and messages have one order; the caller has it leave again when
    this is not committed. Raises BadRequest, Forbidden, Conflict, TooManyRequests, AlreadyClaimed.
    """
    now = utc_now()
    limits = principal.limits
    if claim is not None:
        record(connection, claim, {"run_id": run_id})
    if command.answers is not None:
        command = tree_store.answering(connection, command)
    session_id = None if command.stateless else ticket.key
    requested = planner.requested_profile(command)
    session = None if session_id is None else _open_session(connection, session_id, command, requested, now)
    first_title = None if session_id is None else _first_title(connection, session_id, session, command)
    default_id = None if limits is None else limits.default_config
    profile = requested or planner.profile_for(role, (session and session.config_id) or default_id)
    targets = planner.targets(command, profile)
    if limits is not None:
        targets = check_allowed(limits, profile, targets)
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
        owner=owner,
        place=turns.enter(connection, ticket, command.on_busy),
    )
    if session_id is not None:
        run = _add_turn(connection, run, session_id, command)
    rates = None
    if limits is not None:
        run, rates = reserve(connection, principal, limits, command, profile, run, planner.prices)
    opening = opening_events(run)
    run_store.add_run(connection, run, opening)
    profile = _applied(profile, command, role, requested)
    searches = profile.knowledge.search if command.knowledge is None else command.knowledge.enabled
    return ReplyPlan(
        run=run,
        opening=opening,
        profile=profile,
        targets=targets,
        role=role,
        retrieval=command.knowledge,
        turn=command.turn,
        question=_question(command),
        needs_context=searches or role is not None or profile.role is not None,
        first_parts=command.parts if session is None and session_id is not None else None,
        tools=_tools(profile, command, role) if profile.tools.use else None,
        rates=rates,
        first_title=first_title,
    )


def opening_events(run: Run) -> list[Event]:
    """Return the first events of every run's log."""
    opening: list[Event] = [Started(run.session_id, run.id, run.message_id)]
    if run.user_message_id is not None:
        opening.append(UserMessageSaved(run.user_message_id, iso(run.created_at)))
    return opening


def _open_session(
    connection: Connection, session_id: str, command: SendMessage, requested: Profile | None, now: datetime
) -> session_store.ContinuedSession | None:
    """Continue the user's session; None when the message begins it. Raises Forbidden, BadRequest."""
    username, parts = command.username, command.parts
    # A request of a door where each names its model says nothing of the session's next one.
    lasting = requested if command.turn is None else None
    config_id = None if lasting is None or lasting.id == DEFAULT_ID else lasting.id
    session = (
        None if command.session_id is None else session_store.continue_session(connection, session_id, username, now)
    )
    if session is None and not session_store.add_session(
        connection, session_id, username, parts, config_id, now, command.platform_id
    ):
        # It is someone else's, or another request has added it meanwhile.
        session_store.find_session(connection, session_id, username)
        session = session_store.continue_session(connection, session_id, username, now)
    if session is not None and lasting is not None:
        session_store.change_session(connection, session_id, {"config_id": config_id})
    if command.answers is None:
        message_store.check_quotes(connection, session_id, parts)
    return session


def _first_title(
    connection: Connection, session_id: str, session: session_store.ContinuedSession | None, command: SendMessage
) -> str | None:
    """Return the title that a session has of its first message; one that was made empty gets it now."""
    if session is not None and (session.title is not None or command.answers is not None):
        return None
    title = session_store.title_of(command.parts)
    if session is not None and title is not None:
        session_store.change_session(connection, session_id, {"display_name": title})
    return title


def _applied(profile: Profile, command: SendMessage, role: Role | None, requested: Profile | None) -> Profile:
    """Take a profile's role and knowledge away from a caller that brings the whole conversation, and asks for none."""
    if not command.stateless or requested is not None or (role is not None and role.config_id == profile.id):
        return profile
    if profile.role is None and profile.knowledge == _NO_KNOWLEDGE:
        return profile
    return msgspec.structs.replace(profile, role=None, knowledge=_NO_KNOWLEDGE)


def _tools(profile: Profile, command: SendMessage, role: Role | None) -> ToolPolicy | None:
    """Return the profile's tools, narrowed by the role and the request; None when nothing is left to use."""
    groups = [profile.tools.use]
    if role is not None and role.tools is not None:
        groups.append(role.tools)
    if command.tools is not None:
        groups.append(command.tools)
    if not all(groups):
        return None
    return ToolPolicy(
        tuple(groups),
        profile.tools.ask,
        profile.tools.max_steps,
        profile.tools.message.targets,
        profile.knowledge.collections,
    )


def _question(command: SendMessage) -> str:
    if command.stateless and command.turn is not None:
        return question_of(command.turn.messages)
    return plain_text(command.parts)


def _add_turn(connection: Connection, run: Run, session_id: str, command: SendMessage) -> Run:
    """Add the message, unless it is answered again, and the place of its reply; the run with their ids."""
    complete, pending = MessageStatus.COMPLETE, MessageStatus.PENDING
    user_message_id = command.answers
    if user_message_id is None:
        user_message_id = message_store.add_message(
            connection, session_id, run.id, MessageRole.USER, complete, command.parts, run.created_at
        )
    reply_message_id = message_store.add_message(
        connection, session_id, run.id, MessageRole.ASSISTANT, pending, (), run.created_at, parent_id=user_message_id
    )
    return msgspec.structs.replace(run, user_message_id=user_message_id, reply_message_id=reply_message_id)
