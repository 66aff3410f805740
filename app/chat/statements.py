"""The statements of a turn, finished: what each message executes, from its acceptance to its reply's end."""

from sqlalchemy import bindparam, exists, insert, not_, or_, select, update
from sqlalchemy.orm import aliased

from app.chat.models import MessageRow, RunEventsRow, RunRow, SessionRow
from app.chat.values import OPEN_STATUSES, MessageRole, MessageStatus
from app.database.statements import PreparedStatement

_open = or_(*(RunRow.status == status.value for status in OPEN_STATUSES))

# Accepting a message

FIND_SESSION = PreparedStatement(select(SessionRow).where(SessionRow.id == bindparam("session_id")))

ADD_SESSION = PreparedStatement(
    insert(SessionRow),
    ("id", "platform_id", "creator", "display_name", "is_group", "config_id", "created_at", "updated_at"),
)

TOUCH_SESSION = PreparedStatement(update(SessionRow).where(SessionRow.id == bindparam("session_id")), ("updated_at",))

ADD_MESSAGE = PreparedStatement(
    insert(MessageRow).returning(MessageRow.id, sort_by_parameter_order=True),
    ("session_id", "run_id", "role", "status", "parts", "reasoning", "created_at"),
)

ADD_RUN = PreparedStatement(
    insert(RunRow),
    (
        *("id", "session_id", "username", "key_id", "status", "streaming", "user_message_id", "reply_message_id"),
        *("message_id", "config_id", "provider_id", "model", "owner", "leased_until", "created_at"),
    ),
)

ADD_EVENTS = PreparedStatement(insert(RunEventsRow), ("run_id", "first", "events", "created_at"))

# Asking the model

_reply = aliased(MessageRow)

# A question's reply has the number behind its own. What waits is told by the same snapshot as what is shown.
_waits = exists().where(_reply.id == MessageRow.id + 1, _reply.status == MessageStatus.PENDING.value)

NEWEST_MESSAGES = PreparedStatement(
    select(MessageRow.id, MessageRow.role, MessageRow.parts)
    .where(
        MessageRow.session_id == bindparam("session_id"),
        MessageRow.status != MessageStatus.PENDING.value,
        or_(MessageRow.id == bindparam("user_message_id"), MessageRow.role != MessageRole.USER.value, not_(_waits)),
    )
    .order_by(MessageRow.id.desc())
    .limit(bindparam("most"))
)

MESSAGE = PreparedStatement(
    select(MessageRow.id, MessageRow.role, MessageRow.parts).where(MessageRow.id == bindparam("message_id"))
)

# Keeping what it says

START_RUN = PreparedStatement(
    update(RunRow).where(RunRow.id == bindparam("run_id"), RunRow.status == bindparam("before")),
    ("status", "started_at"),
)

RENEW_LEASES = PreparedStatement(update(RunRow).where(RunRow.owner == bindparam("holder"), _open), ("leased_until",))

END_RUN = PreparedStatement(
    update(RunRow).where(RunRow.id == bindparam("run_id"), _open),
    ("status", "error_code", "error", "provider_id", "model", "started_at", "finished_at"),
)

KEEP_REPLY = PreparedStatement(
    update(MessageRow).where(MessageRow.id == bindparam("message_id")),
    ("status", "parts", "reasoning", "token_usage", "refs", "created_at"),
)
