"""Profiles on the wire, as in the TOML."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.profiles.models import History, ProfileKnowledge, ProfileTools, Sampling


class ProfileFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The settings of a profile, as in its file."""

    name: Annotated[str | UnsetType, Meta(description="What people call it.")] = UNSET
    provider: Annotated[str | UnsetType | None, Meta(description="The provider's id; null, the default one.")] = UNSET
    model: Annotated[str | UnsetType | None, Meta(description="The model; null, the provider's default.")] = UNSET
    system_prompt: Annotated[str | UnsetType, Meta(description="What the model is told before the conversation.")] = (
        UNSET
    )
    timeout_seconds: Annotated[
        float | UnsetType | None, Meta(description="Silence of the model server after which a reply counts as lost.")
    ] = UNSET
    max_retries: Annotated[
        int | UnsetType | None, Meta(description="Further tries of a provider before the first token.")
    ] = UNSET
    fallbacks: Annotated[
        list[str] | UnsetType, Meta(description="Providers to try, in their order, when the one before fails.")
    ] = UNSET
    parameters: Annotated[Sampling | UnsetType, Meta(description="Sent to the model server as they are.")] = UNSET
    history: Annotated[History | UnsetType, Meta(description="How much of the conversation the model is shown.")] = (
        UNSET
    )
    role: Annotated[str | UnsetType | None, Meta(description="The id or name of a role.")] = UNSET
    auto_title: Annotated[bool | UnsetType, Meta(description="Whether the model writes the titles of sessions.")] = (
        UNSET
    )
    knowledge: Annotated[ProfileKnowledge | UnsetType, Meta(description="The search of the knowledge base.")] = UNSET
    tools: Annotated[ProfileTools | UnsetType, Meta(description="What the model may call.")] = UNSET


PROFILE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "poet",
    "name": "Poet",
    "provider": None,
    "model": "gpt-4.1-mini",
    "system_prompt": "Answer in verse.",
    "timeout_seconds": None,
    "max_retries": None,
    "fallbacks": [],
    "parameters": {"temperature": 1.2},
    "history": {"max_messages": 50, "max_tokens": 16_000},
    "role": None,
    "auto_title": False,
    "knowledge": {"search": False, "collections": [], "passages": 5, "embedding_model": None},
    "tools": {"use": [], "ask": [], "max_steps": 16, "message": {"targets": []}},
    "problem": None,
}
