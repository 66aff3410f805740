"""Gauges of what is open: deliveries, pauses, connections and events, of all servers on the database."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, select

from app.background import every
from app.bots.inbox.models import EventRow, EventState, ListenerRow
from app.bots.models import BotRow
from app.bots.outbox.models import OPEN_STATES, DeliveryRow, PauseRow
from app.clock import utc_now
from app.database.engine import Database
from app.telemetry.metrics import Metrics

LOOK_SECONDS = 5.0


@dataclass(slots=True)
class _Open:
    """What is open: deliveries by bot, pauses by bot and reason, the state of each connection."""

    deliveries: dict[str, int] = field(default_factory=dict)
    pauses: dict[tuple[str, str], int] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)
    oldest_delivery: datetime | None = None
    oldest_event: datetime | None = None


class BotGauges:
    """Sets the gauges of bots every few seconds."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def run(self) -> None:
        """Look until cancelled."""
        await every(LOOK_SECONDS, self.look, "bots_not_counted")

    async def look(self) -> None:
        """Count now. Raises DatabaseUnavailable."""
        now = utc_now()
        counts = await self._database.read(lambda connection: _count(connection, now))
        metrics = self._metrics
        for gauge in (metrics.im_open_deliveries, metrics.im_pauses, metrics.im_connections):
            gauge.clear()  # of bots that are gone
        for bot_id, number in counts.deliveries.items():
            metrics.im_open_deliveries.labels(bot_id).set(number)
        for labels, number in counts.pauses.items():
            metrics.im_pauses.labels(*labels).set(number)
        for bot_id, state in counts.connections.items():
            metrics.im_connections.labels(bot_id, state).set(1)
        metrics.im_oldest_delivery.set(_age(counts.oldest_delivery, now))
        metrics.im_oldest_event.set(_age(counts.oldest_event, now))


def _count(connection: Connection, now: datetime) -> _Open:
    counts = _Open()
    is_open = DeliveryRow.state.in_([state.value for state in OPEN_STATES])
    of_bot = select(DeliveryRow.bot_id, func.count(), func.min(DeliveryRow.created_at)).where(is_open)
    for bot_id, number, oldest in connection.execute(of_bot.group_by(DeliveryRow.bot_id)):
        counts.deliveries[bot_id] = number
        counts.oldest_delivery = min(oldest, counts.oldest_delivery or oldest)
    pauses = select(PauseRow.bot_id, PauseRow.reason, func.count()).where(PauseRow.until > now)
    for bot_id, reason, number in connection.execute(pauses.group_by(PauseRow.bot_id, PauseRow.reason)):
        counts.pauses[bot_id, reason] = number
    connections = select(ListenerRow.bot_id, ListenerRow.state).join(BotRow, BotRow.id == ListenerRow.bot_id)
    for bot_id, state in connection.execute(connections.where(BotRow.enabled)):
        counts.connections[bot_id] = state
    events = select(func.min(EventRow.received_at)).where(EventRow.state == EventState.NEW.value)
    counts.oldest_event = connection.execute(events).scalar()
    return counts


def _age(moment: datetime | None, now: datetime) -> float:
    return 0.0 if moment is None else max((now - moment).total_seconds(), 0.0)
