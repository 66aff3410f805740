"""The metrics of bots: what is open, as the database has it."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.bots.adapters.inbound import InboundEvent
from app.bots.gauges import BotGauges
from app.bots.inbox import store as inbox_store
from app.bots.inbox.models import EventRow
from app.bots.outbox.models import DeliveryRow, PauseReason
from app.bots.outbox.store import add_pause, lift_pause, save_delivery
from app.clock import utc_now
from app.telemetry.metrics import Metrics
from tests.bots.conftest import Im

pytestmark = pytest.mark.databases("sqlite", "postgresql")


async def test_what_is_open_is_counted_and_what_is_over_is_not(im: Im) -> None:
    metrics = Metrics()
    gauges = BotGauges(im.database, metrics)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"palaver_im_{name}", labels)

    await gauges.look()
    assert value("open_deliveries", bot="rec") is None
    assert (value("oldest_delivery_seconds"), value("oldest_event_seconds")) == (0, 0)

    await im.call("POST", "/api/v1/bots", {"id": "rec", "adapter": "recording", "config": {}})
    now = utc_now()
    await im.database.write(
        lambda connection: add_pause(
            connection, ("rec", ""), now + timedelta(minutes=5), PauseReason.RATE_LIMITED, "wait", now
        )
    )
    for chat in ("1", "2"):
        body = {"umo": f"rec:FriendMessage:{chat}", "message": "hello", "delivery": "queue"}
        assert (await im.call("POST", "/api/v1/im/message", body))[0] == 202
    event = InboundEvent(
        dedupe_key="1", message_type="FriendMessage", session_id="1", sender_id="42", happened_at=now, text="hi"
    )
    secrets = im.server.core.secrets
    await im.database.write(
        lambda connection: inbox_store.add_events(connection, "rec", [(event, None)], "nobody", now, secrets)
    )
    await im.database.write(lambda connection: inbox_store.lease_listener(connection, "rec", "nobody", now))
    await im.database.write(
        lambda connection: connection.execute(update(DeliveryRow).values(created_at=now - timedelta(minutes=1)))
    )
    await im.database.write(
        lambda connection: connection.execute(update(EventRow).values(received_at=now - timedelta(minutes=2)))
    )
    await gauges.look()
    assert value("open_deliveries", bot="rec") == 2
    assert value("pauses", bot="rec", reason="rate_limited") == 1
    assert value("connections", bot="rec", state="connecting") == 1
    assert 60 <= (value("oldest_delivery_seconds") or 0) < 90
    assert 120 <= (value("oldest_event_seconds") or 0) < 150

    await im.database.write(lambda connection: lift_pause(connection, ("rec", "")))
    for seq in (1, 2):
        await im.database.write(lambda connection, seq=seq: save_delivery(connection, seq, state="sent"))  # type: ignore[misc]
    await im.call("PATCH", "/api/v1/bots/rec", {"enabled": False})
    await gauges.look()
    assert value("open_deliveries", bot="rec") is None
    assert value("pauses", bot="rec", reason="rate_limited") is None
    assert value("connections", bot="rec", state="connecting") is None
    assert value("oldest_delivery_seconds") == 0
