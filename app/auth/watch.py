"""Changes of keys at other servers: word of them comes over the bus, and a look once a second finds the rest."""

from app.auth import store
from app.auth.service import KeyService
from app.cluster.bus import Bus
from app.database.engine import Database

LOOK_SECONDS = 1.0


class KeyWatch:
    """Has the keys looked up again that were changed elsewhere, and others told of those that are changed here."""

    def __init__(self, database: Database, keys: KeyService, bus: Bus) -> None:
        self._database = database
        self._keys = keys
        self._seen: int | None = None
        keys.on_change(lambda: bus.tell_all("keys"))
        for kind in ("keys", "opened"):  # when the bus begins, what was told before is lost
            bus.on(kind, keys.forget)

    async def look(self) -> None:
        """Look whether keys have changed. Raises DatabaseUnavailable."""
        changes = await self._database.read(store.count_changes)
        if changes != self._seen:
            self._seen = changes
            self._keys.forget()
