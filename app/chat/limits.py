"""The limits of a key, as they bear on a reply: what it may use, and what it reserves and settles."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from app.auth.limits import KeyLimits
from app.auth.models import Principal
from app.chat import run_store
from app.chat.commands import SendMessage
from app.chat.parts import plain_text
from app.chat.plan import Target
from app.chat.values import Run
from app.errors import Forbidden
from app.profiles.models import Profile
from app.providers.models import Usage
from app.usage import reservations
from app.usage.counters import Charge, RateState
from app.usage.prices import PriceTable

EXPECTED_OUTPUT: Final = 500
"""Tokens that a reply reserves which names no `max_tokens`."""
MAX_OUTPUT: Final = 10**9


def check_allowed(limits: KeyLimits, profile: Profile, targets: Sequence[Target]) -> list[Target]:
    """Return the models that the key may use, the first and those to fall back to. Raises Forbidden."""
    if not limits.admits_config(profile.id):
        raise Forbidden(f"The API key may not use the profile {profile.id}", code="config_not_allowed")
    allowed = [target for target in targets if limits.admits_model(target.provider.id, target.model)]
    if not allowed or allowed[0] is not targets[0]:
        raise Forbidden(f"The API key may not use the model {targets[0].model}", code="model_not_allowed")
    return allowed


def reserve(
    connection: Connection,
    principal: Principal,
    limits: KeyLimits,
    command: SendMessage,
    profile: Profile,
    run: Run,
    prices: PriceTable,
) -> tuple[Run, RateState | None]:
    """Count the run, and reserve what it may use; the run with its reservation. Raises LimitReached."""
    estimate = estimated(command, profile)
    charge = Charge(
        estimate.prompt_tokens + estimate.completion_tokens, prices.cost(run.provider_id, run.model, estimate)
    )

    def open_among(ids: Collection[str]) -> Collection[str]:
        return run_store.open_among(connection, ids)

    username = end_user_of(command)
    result = reservations.reserve(
        connection, limits, principal.key_id, username, run.id, charge, run.created_at, open_among
    )
    if result is None:
        return run, None
    reservation, rates = result
    return msgspec.structs.replace(run, reservation=msgspec.to_builtins(reservation)), rates


def end_user_of(command: SendMessage) -> str:
    """Return whom the request is for: OpenAI's `safety_identifier` or `user`, else its username."""
    params: Mapping[str, Any] = {} if command.turn is None else command.turn.params
    for name in ("safety_identifier", "user"):
        value = params.get(name)
        if isinstance(value, str) and value:
            return value
    return command.username


def estimated(command: SendMessage, profile: Profile) -> Usage:
    """Guess what a reply will use, before its prompt is made: four bytes are about one token."""
    size = len(plain_text(command.parts).encode("utf-8", "surrogatepass")) + len(profile.system_prompt)
    params: Mapping[str, Any] = {}
    if command.turn is not None:
        params = command.turn.params
        size += sum(_size(message.get("content")) for message in (*command.turn.messages, *command.turn.system))
    chosen = profile.parameters
    names = (params.get("max_completion_tokens"), params.get("max_tokens"))
    bounds = (*names, chosen.max_completion_tokens, chosen.max_tokens, EXPECTED_OUTPUT)
    output = next(each for each in bounds if isinstance(each, int) and each > 0)
    return Usage(size // 4 + 1, 0, min(output, MAX_OUTPUT))


def _size(content: object) -> int:
    """Return the bytes of the texts in a message's content."""
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    if isinstance(content, list):
        return sum(_size(part.get("text")) for part in content if isinstance(part, dict))
    return 0
