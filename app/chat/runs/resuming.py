"""Paused runs of processes that are gone, going on in this one."""

import msgspec
import structlog
from sqlalchemy import Connection

from app.chat import run_store
from app.chat.approvals import find_paused_plan
from app.chat.runs import shared
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import Event
from app.chat.runs.paused import unpack
from app.chat.runs.queue import Ticket
from app.chat.values import Run
from app.database.engine import Database
from app.errors import TooManyRequests
from app.limits import ConcurrencyLimit
from app.providers.service import ProviderRegistry

log = structlog.get_logger(__name__)


class PausedRuns:
    """Runs that wait for approvals, and were left by a process that is gone."""

    def __init__(
        self,
        database: Database,
        engine: RunEngine,
        providers: ProviderRegistry,
        slots: ConcurrencyLimit,
        owner: str,
    ) -> None:
        self._database = database
        self._engine = engine
        self._providers = providers
        self._slots = slots
        self._owner = owner

    async def resume(self, run: Run) -> bool:
        """Have the run wait on in this process; False when it cannot go on."""

        def take(connection: Connection) -> tuple[bytes, list[tuple[int, Event]]] | None:
            plan = find_paused_plan(connection, run.id)
            if plan is None or not shared.take_run(connection, run, self._owner):
                return None
            return plan, run_store.run_events(connection, run.id)

        if (row := await self._database.write(take)) is None:
            return False
        data, events = row
        try:
            run = msgspec.structs.replace(run, owner=self._owner)
            plan = unpack(data, run, [event for _, event in events], self._providers)
            slot = self._slots.take(run.key_id)
            ticket = Ticket(run.session_id or run.id, run.id)
            self._engine.turns.reenter(ticket)
        except (KeyError, msgspec.MsgspecError, TooManyRequests) as error:
            log.error("paused_run_lost", run_id=run.id, exc_info=error)
            return False
        self._engine.start(plan, ticket, slot)
        log.info("paused_run_resumed", run_id=run.id)
        return True
