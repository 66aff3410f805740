"""The limits of calls that are passed on to a model server without a run: embeddings."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.errors import Forbidden
from app.providers.models import Usage
from app.usage import reservations
from app.usage.counters import Charge
from app.usage.embeddings import EmbeddingUsage, tokens_of
from app.usage.prices import PriceTable
from app.usage.store import add_embeddings


@dataclass(slots=True)
class Call:
    """A call that goes on; its answer is set when there is one."""

    answer: bytes = b""


class CallLimits:
    """Counts calls, and what their answers say that they used, in usage and against the limits of their keys."""

    def __init__(self, database: Database, prices: PriceTable, usage: EmbeddingUsage) -> None:
        self._database = database
        self._usage = usage
        self._prices = prices

    @asynccontextmanager
    async def limited(
        self, principal: Principal, provider_id: str, model: str, body: Mapping[str, Any]
    ) -> AsyncIterator[Call]:
        """Reserve what a call may use, and settle when the block ends. Raises Forbidden, LimitReached."""
        call, limits = Call(), principal.limits
        user = body.get("user")
        username = user if isinstance(user, str) and user else principal.creator
        if limits is None:
            yield call
            if call.answer:
                tokens = tokens_of(call.answer, _texts_in(body))
                await self._usage.record(provider_id, model, tokens, key_id=principal.key_id, username=username)
            return
        if not limits.admits_model(provider_id, model):
            raise Forbidden(f"The API key may not use the model {model}", code="model_not_allowed")
        estimate = self._charge(provider_id, model, len(str(body.get("input"))) // 4 + 1)
        now = utc_now()
        result = await self._database.write(
            lambda connection: reservations.reserve(
                connection, limits, principal.key_id, username, "", estimate, now, lambda ids: ids
            )
        )
        try:
            yield call
        finally:
            tokens = tokens_of(call.answer, _texts_in(body)) if call.answer else 0
            used = self._usage.used(provider_id, model, tokens, key_id=principal.key_id, username=username)

            def settle(connection: Connection) -> None:
                if tokens:
                    add_embeddings(connection, used)
                if result is not None:
                    reservations.settle(connection, result[0], "", Charge(tokens, used.cost), utc_now())

            await self._database.write(settle)

    def _charge(self, provider_id: str, model: str, tokens: int) -> Charge:
        return Charge(tokens, self._prices.cost(provider_id, model, Usage(tokens, 0, 0)))


def _texts_in(body: Mapping[str, Any]) -> Sequence[str]:
    """Return the texts of a request; of one that holds numbers, or is odd, its whole input as text."""
    value = body.get("input")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return [value if isinstance(value, str) else str(value)]
