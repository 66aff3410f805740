"""What embeddings use: counted beside the replies, which they are no part of."""

from collections.abc import Sequence

import msgspec
import structlog

from app.clock import utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.providers.models import Usage
from app.usage import store
from app.usage.prices import PriceTable
from app.usage.store import EmbeddingsUsed

log = structlog.get_logger(__name__)


class _Counted(msgspec.Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Counted | None = None


class EmbeddingUsage:
    """Adds up what embeddings use."""

    def __init__(self, database: Database, prices: PriceTable) -> None:
        self._database = database
        self._prices = prices

    async def record(self, provider_id: str, model: str, tokens: int, *, key_id: str, username: str) -> None:
        """Add one answer; a database that is away just then costs the entry, and not the answer."""
        used = self.used(provider_id, model, tokens, key_id=key_id, username=username)
        try:
            await self._database.write(lambda connection: store.add_embeddings(connection, used))
        except DatabaseUnavailable:
            log.warning("embeddings_not_counted", provider=provider_id, model=model, tokens=tokens)

    def used(self, provider_id: str, model: str, tokens: int, *, key_id: str, username: str) -> EmbeddingsUsed:
        """Return the entry for one answer."""
        cost = self._prices.cost(provider_id, model, Usage(tokens, 0, 0))
        return EmbeddingsUsed(utc_now(), provider_id, model, key_id, username, tokens, cost)


def tokens_of(answer: bytes, texts: Sequence[str]) -> int:
    """Return the tokens that an answer says it used; without a word of it, one for each four bytes of the texts."""
    try:
        usage = msgspec.json.decode(answer, type=_Answer).usage
    except msgspec.MsgspecError:
        usage = None
    counted = 0 if usage is None else max(usage.total_tokens, usage.prompt_tokens)
    if counted > 0:
        return min(counted, 10**12)
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // 4 + 1
