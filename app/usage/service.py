"""Usage, as its callers may see it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import structs

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.clock import utc_now
from app.database.engine import Database
from app.usage import reservations, store
from app.usage.prices import PriceTable
from app.usage.store import UsageFilter, UsageSum

COUNTERS_PURGE_SECONDS: Final = 24 * 3600.0
COUNTERS_KEPT: Final = timedelta(days=40)
"""Longer than a month, the longest period of a budget."""


class UsageService:
    """What replies have used; `prices` are those of the settings."""

    def __init__(self, database: Database, prices: PriceTable) -> None:
        self._database = database
        self.prices = prices

    async def sum_usage(self, principal: Principal, which: UsageFilter, groups: Sequence[str]) -> list[UsageSum]:
        """Sum up usage by groups. A caller without the scope `admin` sees its own key, one with a user its own user."""
        if Scope.ADMIN not in principal.scopes:
            which = structs.replace(which, key_id=principal.key_id)
        if principal.username is not None:
            which = structs.replace(which, username=principal.username)
        return await self._database.read(lambda connection: store.sum_usage(connection, which, groups))

    async def purge(self) -> None:
        """Delete counters that no period needs any more."""
        before: datetime = utc_now() - COUNTERS_KEPT
        await self._database.write(lambda connection: reservations.purge(connection, before))
