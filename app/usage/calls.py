"""The limits of calls that are passed on to a model server without a run: embeddings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.errors import Forbidden
from app.providers.models import Usage
from app.usage import reservations
from app.usage.counters import Charge
from app.usage.prices import PriceTable


@dataclass(slots=True)
class Call:
    """A call that goes on; its answer is set when there is one."""

    answer: bytes = b""


class _Counted(msgspec.Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Counted | None = None


class CallLimits:
    """Counts calls, and what their answers say that they used, against the limits of their keys."""

    def __init__(self, database: Database, prices: PriceTable) -> None:
        self._database = database
        self._prices = prices

    @asynccontextmanager
    async def limited(
        self, principal: Principal, provider_id: str, model: str, body: Mapping[str, Any]
    ) -> AsyncIterator[Call]:
        """Reserve what a call may use, and settle when the block ends. Raises Forbidden, LimitReached."""
        call, limits = Call(), principal.limits
        if limits is None:
            yield call
            return
        if not limits.admits_model(provider_id, model):
            raise Forbidden(f"The API key may not use the model {model}", code="model_not_allowed")
        estimate = self._charge(provider_id, model, len(str(body.get("input"))) // 4 + 1)
        user = body.get("user")
        username = user if isinstance(user, str) and user else principal.creator
        now = utc_now()
        result = await self._database.write(
            lambda connection: reservations.reserve(
                connection, limits, principal.key_id, username, "", estimate, now, lambda ids: ids
            )
        )
        try:
            yield call
        finally:
            if result is not None:
                reservation, actual = result[0], self._charge(provider_id, model, _tokens_of(call.answer))
                await self._database.write(
                    lambda connection: reservations.settle(connection, reservation, "", actual, utc_now())
                )

    def _charge(self, provider_id: str, model: str, tokens: int) -> Charge:
        return Charge(tokens, self._prices.cost(provider_id, model, Usage(tokens, 0, 0)))


def _tokens_of(answer: bytes) -> int:
    try:
        usage = msgspec.json.decode(answer, type=_Answer).usage
    except msgspec.MsgspecError:
        return 0
    return 0 if usage is None else max(usage.total_tokens, usage.prompt_tokens)
