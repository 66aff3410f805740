"""What the model is asked for one run: made when its turn has come, for each target that is tried."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from app.chat.commands import INSTRUCTIONS, ModelTurn, RetrievalOptions
from app.chat.parts import Part
from app.chat.passages import add_passages, refs_event
from app.chat.prompt import PromptBuilder, as_given
from app.chat.runs.jobs import Prepared, Target
from app.chat.values import Run
from app.knowledge.models import Found
from app.knowledge.service import KnowledgeService
from app.profiles.models import Profile
from app.roles.models import SHARED, Role
from app.roles.service import RoleService

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Brief:
    """What was decided when the message was accepted.

    `question` is what the knowledge base is searched for; `first` is the message itself, where it began its session.
    """

    profile: Profile
    role: Role | None
    knowledge: RetrievalOptions | None
    turn: ModelTurn | None
    question: str
    first: tuple[Part, ...] | None


@dataclass(frozen=True, slots=True)
class _Guidance:
    """What is the same for all targets of a run."""

    profile: Profile
    turn: ModelTurn | None
    found: Sequence[Found]


class Preparation:
    """Makes the requests of one run. The knowledge base is searched once, however many targets are asked."""

    def __init__(
        self, run: Run, brief: Brief, prompts: PromptBuilder, roles: RoleService, knowledge: KnowledgeService
    ) -> None:
        self._run = run
        self._brief = brief
        self._prompts = prompts
        self._roles = roles
        self._knowledge = knowledge
        self._guidance: _Guidance | None = None

    async def __call__(self, target: Target) -> Prepared:
        """The request for this target, and what the log is to say of it. Raises NotFound for a profile's role that is
        gone, DatabaseUnavailable, Unavailable."""
        known = self._guidance
        guidance = self._guidance = known or await self._guide()
        profile, turn = guidance.profile, guidance.turn
        if self._run.session_id is None:
            assert turn is not None
            request = as_given(turn, profile, target.model, stream=self._run.streaming)
        else:
            request = await self._prompts.build(self._run, profile, target.model, turn, self._brief.first)
        if not guidance.found:
            return Prepared(request)
        request = replace(request, messages=add_passages(request.messages, guidance.found))
        return Prepared(request, () if known else (refs_event(guidance.found),))

    async def _guide(self) -> _Guidance:
        brief = self._brief
        role = brief.role
        if role is None and brief.profile.role is not None:
            # The operator's word: no user's role of that name may take its place.
            role = await self._roles.get_for_use(brief.profile.role, SHARED, any_owner=True)
        found = await self._find(self._wish(role))
        if role is None or not role.system_prompt:
            return _Guidance(brief.profile, brief.turn, found)
        profile = replace(brief.profile, system_prompt=role.system_prompt)
        return _Guidance(profile, brief.turn and _instructed(brief.turn, role.system_prompt), found)

    def _wish(self, role: Role | None) -> RetrievalOptions:
        """The request's wish before the role's before the profile's; and likewise where to search."""
        of_profile = self._brief.profile.knowledge
        of_role = None if role is None else RetrievalOptions(role.enable_l0_retrieval, tuple(role.collections))
        wish = self._brief.knowledge or of_role or RetrievalOptions(of_profile.search)
        named = wish.collections or (of_role.collections if of_role else ()) or tuple(of_profile.collections)
        return RetrievalOptions(wish.on, named)

    async def _find(self, wish: RetrievalOptions) -> Sequence[Found]:
        if not wish.on or not self._brief.question.strip():
            return ()
        username = self._run.username
        if wish.collections:
            collections = await self._knowledge.find_collections(wish.collections, username)
            if len(collections) < len(wish.collections):
                log.warning("collections_gone", wanted=len(wish.collections), found=len(collections))
        else:
            collections = await self._knowledge.visible_to(username)
        if not collections:
            return ()
        return await self._knowledge.retrieve(
            self._brief.question, [each.id for each in collections], self._brief.profile.knowledge.passages
        )


def _instructed(turn: ModelTurn, prompt: str) -> ModelTurn:
    """The turn under a role's prompt, which takes the place of the request's own."""
    messages = [message for message in turn.messages if message.get("role") not in INSTRUCTIONS]
    return replace(turn, messages=messages, system=[{"role": "system", "content": prompt}])
