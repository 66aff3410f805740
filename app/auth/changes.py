"""Changes to keys, each with its entries in the audit trail: functions of a connection."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from msgspec import structs
from sqlalchemy import Connection

from app.auth import store
from app.auth.audit import Change, record_changes
from app.auth.models import ApiKey, Principal
from app.errors import BadRequest, Forbidden, Unauthorized


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change: a caller at an address, or for None the operator at the command line.

    A key that `is_stored` is in the database, and not in the settings.
    """

    principal: Principal | None
    address: str | None
    is_stored: bool

    @property
    def key_id(self) -> str | None:
        return None if self.principal is None else self.principal.key_id

    def record(self, connection: Connection, at: datetime, action: str, key_ids: Iterable[str]) -> None:
        record_changes(
            connection,
            [
                Change(at=at, key_id=self.key_id, action=f"api_key.{action}", target=key_id, address=self.address)
                for key_id in key_ids
            ],
        )


def check_caller(connection: Connection, actor: Actor, now: datetime, *, for_update: bool = False) -> ApiKey | None:
    """Return the caller's key, unless it is the operator's. Raises Unauthorized, Forbidden for an old text.

    Who has found the text that a rotation replaced could otherwise take the key over before it ends. The key may have
    ended since the request was admitted, and nothing may come of it then.
    """
    if actor.principal is None or not actor.is_stored:
        return None
    match = store.find_key(connection, actor.principal.digest, for_update=for_update)
    if match is None or match[0].status(now) != "live":
        raise Unauthorized("Invalid API key", code="invalid_api_key")
    key, text_expires_at = match
    if text_expires_at is not None:
        raise Forbidden("The API key was rotated: its old text cannot manage keys", code="old_key_text")
    return key


def create(connection: Connection, actor: Actor, key: ApiKey, digest: bytes, now: datetime) -> ApiKey:
    """Add a key; one that another key makes ends with it or before."""
    maker = check_caller(connection, actor, now, for_update=True)
    if maker is not None:
        ends = [each for each in (key.expires_at, maker.expires_at) if each is not None]
        key = structs.replace(key, parent_id=maker.id, expires_at=min(ends, default=None))
    store.add_key(connection, key, digest)
    actor.record(connection, now, "created", [key.id])
    return key


def rotate(
    connection: Connection, actor: Actor, key_id: str, *, text: tuple[str, bytes], ends: datetime | None, now: datetime
) -> ApiKey:
    """Give a key the prefix and digest of a new text; the present one is good until `ends`.

    Raises NotFound, BadRequest for a dead key, Forbidden for scopes that the caller lacks.
    """
    check_caller(connection, actor, now)
    key = store.get_key(connection, key_id, actor.principal)
    if key.is_over(now):
        raise BadRequest("A revoked or expired key cannot be rotated", code="key_not_live")
    check_may_grant(actor.principal, key.scopes, key.username)
    prefix, digest = text
    rotated = structs.replace(key, prefix=prefix, previous_expires_at=ends)
    store.replace_text(connection, rotated, digest)
    actor.record(connection, now, "rotated", [key.id])
    store.count_change(connection, now)
    return rotated


def change(
    connection: Connection, actor: Actor, key_id: str, update: Callable[[ApiKey], ApiKey], now: datetime
) -> ApiKey:
    """Replace what `update` changes of a key. Raises NotFound, BadRequest for a dead key, Forbidden."""
    check_caller(connection, actor, now)
    key = store.get_key(connection, key_id, actor.principal)
    if key.is_over(now):
        raise BadRequest("A revoked or expired key cannot be changed", code="key_not_live")
    changed = update(key)
    check_may_grant(actor.principal, changed.scopes - key.scopes, key.username)
    store.save_key(connection, changed)
    actor.record(connection, now, "changed", [key.id])
    store.count_change(connection, now)
    return changed


def revoke(connection: Connection, actor: Actor, key_id: str, now: datetime) -> ApiKey:
    """End a key and those that it made. Raises NotFound."""
    key = store.get_key(connection, key_id, actor.principal)
    if key.revoked_at is None:
        key = structs.replace(key, revoked_at=now, previous_expires_at=None)
        store.revoke_key(connection, key)
        actor.record(connection, now, "revoked", [key.id, *store.revoke_children(connection, key.id, now)])
        store.count_change(connection, now)
    return key


def delete(connection: Connection, actor: Actor, key_id: str, now: datetime) -> None:
    """Forget a key, and end those that it made. Raises NotFound, Unauthorized, Forbidden."""
    check_caller(connection, actor, now)
    key = store.get_key(connection, key_id, actor.principal)
    children = store.revoke_children(connection, key.id, now)
    store.delete_key(connection, key.id)
    actor.record(connection, now, "deleted", [key.id])
    store.count_change(connection, now)
    if children:
        actor.record(connection, now, "revoked", children)


def check_may_grant(principal: Principal | None, scopes: frozenset[str], username: str | None) -> None:
    """Raises Forbidden for scopes or a user that the caller does not have."""
    if principal is None:
        return
    if missing := scopes - principal.scopes:
        raise Forbidden(
            f"The API key cannot grant scopes it lacks: {', '.join(sorted(missing))}", code="scope_not_held"
        )
    if principal.username is not None and username != principal.username:
        raise Forbidden("A key bound to a username can only make keys bound to it", code="username_not_allowed")
