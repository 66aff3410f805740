"""Quotations: which message of ours is which on a platform, where its chat has a session here."""

from sqlalchemy import Connection

from app.bots.inbox.store import find_message_of_run, find_run_of_message
from app.bots.outbox.planning import RUN_KEY
from app.bots.outbox.store import Lane, find_by_key, find_message_key
from app.chat.message_store import find_run_of, is_message_of
from app.chat.run_store import find_run


def find_message_number(connection: Connection, lane: Lane, platform_id: str, session_id: str) -> int | None:
    """Find our number of a message on the platform, if it is one of the session."""
    key = find_message_key(connection, lane, platform_id)
    if key is not None and key.startswith(RUN_KEY):
        run = find_run(connection, key.removeprefix(RUN_KEY))
        found = None if run is None else run.reply_message_id
    else:
        run_id = find_run_of_message(connection, lane, platform_id)
        run = None if run_id is None else find_run(connection, run_id)
        found = None if run is None else run.user_message_id
    return found if found is not None and is_message_of(connection, session_id, found) else None


def find_platform_id(connection: Connection, lane: Lane, number: int) -> str | None:
    """Find the platform's id of one of our messages, if people see it in that chat: of a reply, its first piece."""
    run_id = find_run_of(connection, number)
    run = None if run_id is None else find_run(connection, run_id)
    if run is None:
        return None
    if run.user_message_id == number:
        return find_message_of_run(connection, lane, run.id)
    delivery = find_by_key(connection, lane[0], f"{RUN_KEY}{run.id}")
    if delivery is None or delivery.target != lane[1]:
        return None
    return next(iter(delivery.message_ids), None)
