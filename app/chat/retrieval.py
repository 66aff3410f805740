"""Passages of the knowledge base for a reply, and the role whose prompt it follows."""

from collections.abc import Sequence
from dataclasses import replace

import structlog
from msgspec import structs

from app.chat.commands import INSTRUCTIONS, RetrievalOptions
from app.chat.plan import ReplyPlan
from app.knowledge.models import FoundPassage
from app.knowledge.service import KnowledgeService
from app.roles.models import SHARED, Role
from app.roles.service import RoleService
from app.workers.turns import Caller

log = structlog.get_logger(__name__)


class Retrieval:
    """Completes plans when their turn has come, once for all the models that may be asked."""

    def __init__(self, roles: RoleService, knowledge: KnowledgeService) -> None:
        self._roles = roles
        self._knowledge = knowledge

    async def complete(self, plan: ReplyPlan) -> ReplyPlan:
        """Return the plan with the role's prompt and dialogue in it, and the passages that bear on the question.

        Raises NotFound for a profile's role that is gone, DatabaseUnavailable, Unavailable.
        """
        role = plan.role
        if role is None and plan.profile.role is not None:
            # The operator's word: no user's role of that name may take its place.
            role = await self._roles.get_for_use(plan.profile.role, SHARED, any_owner=True)
            plan = _narrowed(plan, role)
        passages = await self._search(plan, _options(plan, role))
        if passages:
            plan = replace(plan, passages=passages)
        return plan if role is None or not role.system_prompt else _under_role(plan, role)

    async def _search(self, plan: ReplyPlan, options: RetrievalOptions) -> Sequence[FoundPassage]:
        if not options.enabled or not plan.question.strip():
            return ()
        username = plan.run.username
        if options.collections:
            collections = await self._knowledge.find_collections(options.collections, username)
            if len(collections) < len(options.collections):
                log.warning("collections_missing", named=len(options.collections), found=len(collections))
        else:
            collections = await self._knowledge.visible_to(username)
        if not collections:
            return ()
        return await self._knowledge.retrieve(
            plan.question,
            [each.id for each in collections],
            plan.profile.knowledge.passages,
            Caller(plan.run.key_id, username),
        )


def _options(plan: ReplyPlan, role: Role | None) -> RetrievalOptions:
    """Take each option from the request, else from the role, else from the profile."""
    of_profile = plan.profile.knowledge
    of_role = None if role is None else RetrievalOptions(role.enable_l0_retrieval, tuple(role.collections))
    options = plan.retrieval or of_role or RetrievalOptions(of_profile.search)
    collections = options.collections or (of_role.collections if of_role else ()) or tuple(of_profile.collections)
    return RetrievalOptions(options.enabled, collections)


def _narrowed(plan: ReplyPlan, role: Role) -> ReplyPlan:
    """Leave only those tools that the role has as well."""
    if plan.tools is None or role.tools is None:
        return plan
    return replace(plan, tools=structs.replace(plan.tools, groups=(*plan.tools.groups, role.tools)))


def _under_role(plan: ReplyPlan, role: Role) -> ReplyPlan:
    """Replace all other system prompts, the request's own included, and put the role's dialogue first."""
    prompt = role.system_prompt
    profile = structs.replace(plan.profile, system_prompt=prompt)
    plan = replace(plan, profile=profile, begin_dialogs=tuple(role.begin_dialogs))
    if plan.turn is None:
        return plan
    messages = [message for message in plan.turn.messages if message.get("role") not in INSTRUCTIONS]
    turn = replace(plan.turn, messages=messages, system=[{"role": "system", "content": prompt}])
    return replace(plan, turn=turn)
