"""The end of runs whose server is gone."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from app.background import Pulse
from app.chat import run_store
from app.chat.runs import shared
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import EventBatch, Failed
from app.chat.runs.reply import cut_short
from app.chat.runs.resuming import PausedRuns
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.cluster.servers import Servers
from app.database.engine import Database
from app.usage.prices import PriceTable

SWEEP_SECONDS = 1.0
PULSE_SECONDS = 10.0
"""How long sweeps may fail until the server counts as not ready."""
START_TIME = timedelta(seconds=30)
"""Within it, a run that was committed is started by its request."""
CRASH_GAP = 1_000_000
"""Events that a crashed process sent but did not store keep their numbers: recovery goes on from beyond them."""

log = structlog.get_logger(__name__)


class Recovery:
    """Ends runs whose server is gone, with what reached the database; paused ones wait on here.

    With `is_shared`, other servers may have runs in the same database.
    """

    def __init__(
        self,
        database: Database,
        engine: RunEngine,
        paused: PausedRuns,
        servers: Servers,
        prices: PriceTable,
        *,
        is_shared: bool,
    ) -> None:
        self._database = database
        self._engine = engine
        self._paused = paused
        self._servers = servers
        self._prices = prices
        self._is_shared = is_shared
        self._pulse = Pulse(PULSE_SECONDS)

    def check(self) -> None:
        """Raises TimeoutError when sweeps have failed for too long."""
        self._pulse.check()

    async def open(self) -> None:
        """End the runs that this server's predecessor left, before it has any of its own."""
        if self._is_shared:
            runs = await self._database.read(lambda connection: shared.list_left_runs(connection, self._servers.id))
        else:
            runs = await self._database.read(shared.list_open_runs)
        await self._end(runs)

    async def sweep(self) -> None:
        """End the runs of dead servers, and those that were committed without this one's being told so."""
        with self._pulse.attempt():
            if self._servers.may_judge:
                await self._end(await self._database.read(shared.list_lost_runs))
            since = utc_now() - START_TIME
            doubtful = self._engine.doubtful
            ids = {task.run.id for task in self._engine.runs}
            unowned = await self._database.read(
                lambda connection: shared.list_unowned_runs(connection, self._servers.id, since, doubtful, ids)
            )
            for run in unowned:
                await self._end_lost(run)

    async def _end(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.status is not RunStatus.REQUIRES_ACTION or not await self._paused.resume(run):
                await self._end_lost(run)

    async def _end_lost(self, run: Run) -> None:
        events = await self._database.read(lambda connection: run_store.run_events(connection, run.id))
        cause = Failed("interrupted", "The server stopped while the reply was being made")
        result = cut_short(run, [event for _, event in events], RunStatus.INTERRUPTED, cause)
        result = result.priced(self._prices, run)
        batch = EventBatch((events[-1][0] if events else 0) + CRASH_GAP + 1, result.events)
        turns = self._engine.turns
        if await self._database.write(lambda connection: turns.end_run(connection, run, result, batch)):
            turns.ended(run.id)
            log.warning("run_interrupted", run_id=run.id, chars=len(result.content.text))
