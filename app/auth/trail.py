"""Entries in the audit trail for routes that change something with admin rights."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

import structlog
from quart import Response, g, request

from app.auth.audit import Change, record_changes
from app.auth.guards import caller
from app.clock import utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.edge.services import service

AUDIT: Final = "palaver_audit"
"""The attribute of a view that holds its action."""
MAX_TARGET_CHARS: Final = 255

log = structlog.get_logger(__name__)

View = Callable[..., Awaitable[Response]]


class AuditTrail:
    """Writes down who did what, after it was done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, action: str, target: str) -> None:
        """Write down what the present request did; a database that is away just then leaves only a line of the log."""
        change = Change(
            at=utc_now(),
            key_id=caller().key_id,
            action=action,
            target=target[:MAX_TARGET_CHARS],
            address=request.remote_addr,
        )
        try:
            await self._database.write(lambda connection: record_changes(connection, [change]))
        except DatabaseUnavailable:
            log.error("audit_not_written", action=action, target=change.target, key_id=change.key_id)


def audited(action: str) -> Callable[[View], View]:
    """Have a view's success written down, such as `bot.created`; it stands right above the view.

    The target is the route's parameter, or what the view has named with `set_target`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        async def recorded(**arguments: Any) -> Response:
            response = await view(**arguments)
            target = g.get("audit_target") or next(iter(arguments.values()), "")
            await service(AuditTrail).record(action, str(target))
            return response

        recorded.__dict__[AUDIT] = action
        return recorded

    return decorate


def set_target(target: str) -> None:
    """Name what the present request has changed."""
    g.audit_target = target
