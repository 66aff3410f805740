"""Deliveries in the making: their rows, and the fragments of replies."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from app.bots.adapters.base import Adapter, Attached, Fragment, OutgoingPart, Target
from app.bots.inbox.store import find_live
from app.bots.outbox import store
from app.bots.outbox.models import Delivery, DeliveryState, FragmentState
from app.bots.outbox.turns import finish, next_fragment
from app.bots.umo import Umo
from app.chat.parts import ClientPart, Media, Reply, Text, from_stored
from app.errors import AppError
from app.files.models import Attachment

RUN_KEY = "run:"
"""The prefix of the message keys of replies; the run's id follows."""


def new_delivery(
    delivery_id: str,
    umo: Umo,
    target: Target,
    parts: list[dict[str, Any]],
    origin: str,
    message_key: str,
    *,
    now: datetime,
    deadline: datetime,
    waits: bool = False,
    callback: bytes | None = None,
) -> dict[str, Any]:
    """Return the row of a queued delivery."""
    return {
        "id": delivery_id,
        "bot_id": umo.platform_id,
        "target": f"{umo.message_type}:{umo.session_id}",
        "origin": origin,
        "key_id": target.key_id,
        "username": target.username,
        "message_key": message_key,
        "parts": parts,
        "state": DeliveryState.QUEUED.value,
        "waits": waits,
        "not_before": now,
        "deadline": deadline,
        "attempts": 0,
        "callback": callback,
        "callback_tries": 0,
        "created_at": now,
    }


def new_fragments(message_key: str, fragments: Sequence[Fragment]) -> list[dict[str, Any]]:
    """Return the rows of fragments; their wire keys are made of the message's key."""
    return [
        {
            "no": no,
            "action": fragment.action,
            "payload": dict(fragment.payload),
            "plain": None if fragment.plain is None else dict(fragment.plain),
            "attachment_id": fragment.attachment_id,
            "edited_id": fragment.platform_id,
            "wire_key": sha256(f"{message_key} {no}".encode()).hexdigest()[:32],
            "state": FragmentState.PENDING.value,
            "attempts": 0,
        }
        for no, fragment in enumerate(fragments)
    ]


def outgoing_part(part: ClientPart, attachments: Mapping[str, Attachment]) -> OutgoingPart:
    if isinstance(part, (Text, Reply)):
        return part
    return Attached(part, attachments[part.attachment_id])


async def plan_beside(adapter: Adapter, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
    """Divide a message into fragments beside the event loop: to split a long text takes seconds."""
    return list(await asyncio.to_thread(adapter.plan, target, parts))


async def plan_reply(
    adapter: Adapter,
    target: Target,
    stored_parts: Sequence[Mapping[str, Any]],
    attachments: Mapping[str, Attachment],
    live_ids: Sequence[str],
) -> list[Fragment]:
    """Divide a reply into fragments; the first ones replace the messages in which people saw it being made."""
    capabilities = adapter.capabilities
    parts: list[OutgoingPart] = []
    for part in from_stored(stored_parts):
        if isinstance(part, Text) or (isinstance(part, Reply) and capabilities.replies):
            parts.append(part)
        elif isinstance(part, Media) and part.attachment_id in attachments:
            attached = Attached(part, attachments[part.attachment_id])
            # What the platform does not take is at least named.
            limit = capabilities.max_upload_bytes
            is_taken = part.kind in capabilities.parts and (limit is None or attached.attachment.size <= limit)
            parts.append(attached if is_taken else Text(f"[{attached.filename}]"))
    return over_live(await plan_beside(adapter, target, parts), live_ids)


def find_live_of(connection: Connection, delivery: Delivery) -> list[str]:
    """Return the messages in which a reply was shown, as far as a follower that died has noted them."""
    return find_live(connection, delivery.message_key.removeprefix(RUN_KEY)) or []


def over_live(fragments: Sequence[Fragment], live_ids: Sequence[str]) -> list[Fragment]:
    """Turn the first texts into edits of live messages; of those that are too many, deletions."""
    result = list(fragments)
    left = list(live_ids)
    for index, fragment in enumerate(result):
        if left and fragment.attachment_id is None:
            result[index] = replace(fragment, action="edit", platform_id=left.pop(0))
    return [*result, *(Fragment({}, action="delete", platform_id=platform_id) for platform_id in left)]


def add_fragments(
    connection: Connection, delivery: Delivery, fragments: Sequence[Fragment], owner: str, now: datetime
) -> Delivery | None:
    """Store the fragments of a delivery whose turn it is, and begin the first; None when it was lost, or is over."""
    if not store.is_held(connection, delivery.seq, owner):
        return None
    if not fragments:
        finish(connection, delivery, DeliveryState.SENT, now)
        return None
    store.add_fragments(connection, delivery.seq, new_fragments(delivery.message_key, fragments))
    planned = store.find_delivery(connection, delivery.id)
    assert planned is not None
    first = next_fragment(planned)
    assert first is not None
    store.begin_fragment(connection, first, now)
    return planned


def refuse(connection: Connection, delivery: Delivery, error: AppError, now: datetime) -> None:
    """End a delivery that cannot be divided."""
    finish(connection, delivery, DeliveryState.DEAD, now, code=error.code, error=error.message)
