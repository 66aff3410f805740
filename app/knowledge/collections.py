"""Collections: making, finding, changing and deleting them, and who may."""

from collections.abc import Collection as Group
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import MAX_INTEGER
from app.errors import BadRequest, Conflict, Forbidden, NotFound
from app.knowledge.models import SHARED, Collection, CollectionRow, DocumentRow, DocumentStatus
from app.profiles.models import Profile
from app.profiles.service import DEFAULT_ID, ProfileService
from app.providers.service import ProviderRegistry


@dataclass(frozen=True, slots=True)
class Counted:
    """A collection, its documents and the passages that can be found: those of documents that are ready."""

    collection: Collection
    documents: int = 0
    passages: int = 0


class CollectionService:
    """Collections as their callers see them: a key bound to a username sees that user's and the shared ones, and
    changes that user's; an unbound one sees and changes all. What may not be seen does not exist."""

    def __init__(self, database: Database, profiles: ProfileService, providers: ProviderRegistry) -> None:
        self._database = database
        self._profiles = profiles
        self._providers = providers

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        description: str = "",
        owner: str | None = None,
        config_id: str | None = None,
    ) -> Counted:
        """A new one, of `owner`, or else of the principal's user; its embedding model is the profile's.

        Raises Conflict for a name that its owner has used, Forbidden for another's, BadRequest for an empty name, an
        unknown profile, or one whose provider there is not.
        """
        if owner is not None:
            principal.check_user(owner)
        provider, model = self._embedding(self._profiles.get(config_id or DEFAULT_ID))
        now = utc_now()
        collection = Collection(
            id=str(uuid4()),
            owner=owner or principal.username or SHARED,
            name=_checked(name),
            description=description.strip(),
            embedding_provider=provider,
            embedding_model=model,
            created_at=now,
            updated_at=now,
        )
        values = {each: getattr(collection, each) for each in Collection.__slots__}
        try:
            async with self._database.write_block() as connection:
                await connection.execute(insert(CollectionRow).values(**values))
        except IntegrityError:
            raise _name_taken(collection.name) from None
        return Counted(collection)

    async def page(self, principal: Principal, *, page: int, page_size: int) -> tuple[list[Counted], int]:
        """One page of those that the principal sees, by name, and how many there are in all."""
        seen = visible_to(principal.username)
        query = _ordered(seen).limit(page_size).offset(min((page - 1) * page_size, MAX_INTEGER))
        async with self._database.read_block() as connection:
            collections = [_to_collection(row) for row in await connection.execute(query)]
            total = await connection.scalar(select(func.count()).select_from(CollectionRow).where(seen)) or 0
            return await _counted(connection, collections), total

    async def get(self, principal: Principal, collection_id: str) -> Counted:
        """Raises NotFound `Collection not found`."""
        async with self._database.read_block() as connection:
            collection = await connection.run_sync(get_collection, principal, collection_id)
            return (await _counted(connection, [collection]))[0]

    async def change(self, principal: Principal, collection_id: str, changes: Mapping[str, str]) -> Counted:
        """Set `name` or `description`. Raises NotFound, Forbidden, Conflict, BadRequest."""
        wanted = {field: _checked(text) if field == "name" else text.strip() for field, text in changes.items()}
        try:
            async with self._database.write_block() as connection:
                collection = await connection.run_sync(get_changeable, principal, collection_id)
                if wanted:
                    values: dict[str, Any] = {**wanted, "updated_at": utc_now()}
                    await connection.execute(
                        update(CollectionRow).where(CollectionRow.id == collection_id).values(**values)
                    )
                    collection = replace(collection, **values)
                return (await _counted(connection, [collection]))[0]
        except IntegrityError:
            raise _name_taken(wanted["name"]) from None

    async def all(self, seen: ColumnElement[bool]) -> list[Collection]:
        """The `seen` ones, by name."""
        async with self._database.read_block() as connection:
            return [_to_collection(row) for row in await connection.execute(_ordered(seen))]

    async def named(self, names: Group[str], seen: ColumnElement[bool]) -> list[Collection]:
        """Those among the `seen` ones that have one of the names, or ids."""
        return await self.all(seen & or_(CollectionRow.id.in_(names), CollectionRow.name.in_(names)))

    def _embedding(self, profile: Profile) -> tuple[str | None, str | None]:
        """The provider and the model that make vectors for the profile; a profile that names no model has none.

        Raises BadRequest for a provider that there is not.
        """
        model = profile.knowledge.embedding_model
        if model is None:
            return None, None
        provider = profile.provider or self._providers.default.id
        if provider not in self._providers.ids:
            raise BadRequest(f"provider not found: {provider}", code="provider_not_found")
        return provider, model


def visible_to(username: str | None) -> ColumnElement[bool]:
    """The condition for what a key bound to `username` sees (None: an unbound key, which sees all)."""
    return ~CollectionRow.deleting if username is None else shared_or_of(username)


def shared_or_of(username: str | None) -> ColumnElement[bool]:
    """The condition for the shared collections and the user's (None: the shared ones)."""
    return CollectionRow.owner.in_({SHARED, username or SHARED}) & ~CollectionRow.deleting


def get_collection(connection: Connection, principal: Principal, collection_id: str) -> Collection:
    """Raises NotFound."""
    seen = visible_to(principal.username)
    row = connection.execute(select(CollectionRow).where(CollectionRow.id == collection_id, seen)).first()
    if row is None:
        raise NotFound("Collection not found", code="collection_not_found")
    return _to_collection(row)


def get_changeable(connection: Connection, principal: Principal, collection_id: str) -> Collection:
    """Raises NotFound, and Forbidden for a shared collection when the key is bound to a user."""
    collection = get_collection(connection, principal, collection_id)
    if principal.username is not None and collection.owner != principal.username:
        raise Forbidden("A key bound to a username cannot change a shared collection", code="collection_shared")
    return collection


def _ordered(seen: ColumnElement[bool]) -> Any:
    return select(CollectionRow).where(seen).order_by(CollectionRow.name, CollectionRow.id)


async def _counted(connection: AsyncConnection, collections: Sequence[Collection]) -> list[Counted]:
    findable = case((DocumentRow.status == DocumentStatus.READY, DocumentRow.passage_count), else_=0)
    query = (
        select(DocumentRow.collection_id, func.count(), func.sum(findable))
        .where(
            DocumentRow.collection_id.in_([each.id for each in collections]),
            DocumentRow.status != DocumentStatus.DELETING,
        )
        .group_by(DocumentRow.collection_id)
    )
    counts = {row[0]: (row[1], int(row[2])) for row in await connection.execute(query)}
    return [Counted(each, *counts.get(each.id, (0, 0))) for each in collections]


def _checked(name: str) -> str:
    name = name.strip()
    if not name:
        raise BadRequest("name is empty", code="invalid_request")
    return name


def _name_taken(name: str) -> Conflict:
    return Conflict(f"There is a collection of that name: {name}", code="collection_exists")


def _to_collection(row: Any) -> Collection:
    return Collection(**{name: getattr(row, name) for name in Collection.__slots__})
