"""Collections: creating, listing and changing them, and who may."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.auth.models import Principal, check_not_reserved
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import value_of
from app.errors import BadRequest, Conflict, Forbidden, NotFound
from app.knowledge.models import SHARED, Collection, CollectionRow, CollectionStats, DocumentRow, DocumentStatus
from app.profiles.models import Profile
from app.profiles.service import DEFAULT_ID, ProfileService
from app.providers.service import ProviderRegistry

_in_collection = DocumentRow.collection_id == CollectionRow.id
_COUNTS = (
    select(func.count())
    .where(_in_collection, DocumentRow.status != DocumentStatus.DELETING)
    .scalar_subquery()
    .label("document_count"),
    select(func.coalesce(func.sum(DocumentRow.passage_count), 0))
    .where(_in_collection, DocumentRow.status == DocumentStatus.READY)
    .scalar_subquery()
    .label("passage_count"),
)


class CollectionService:
    """Collections, within the permissions of a key.

    A key bound to a username sees that user's and the shared collections, and changes that user's. An unbound key sees
    and changes all. What a key may not see does not exist for it.
    """

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
    ) -> CollectionStats:
        """Create an empty collection of `owner`, or else of the principal's user, with the profile's embedding model.

        Raises BadRequest if the name is empty, the profile is unknown or its provider is not configured, Forbidden for
        another user's collection, Conflict if the owner has one of that name.
        """
        if owner is not None:
            check_not_reserved(owner)
            principal.check_user(owner)
        provider, model = self._embedding(self._profiles.get(config_id or DEFAULT_ID))
        now = utc_now()
        collection = Collection(
            id=str(uuid4()),
            owner=owner or principal.username or SHARED,
            name=_stripped(name),
            description=description.strip(),
            embedding_provider=provider,
            embedding_model=model,
            created_at=now,
            updated_at=now,
        )
        values = asdict(collection)
        try:
            await self._database.write(lambda connection: connection.execute(insert(CollectionRow).values(**values)))
        except IntegrityError:
            raise _name_taken(collection.name) from None
        return CollectionStats(**values, document_count=0, passage_count=0)

    async def page(self, principal: Principal, *, page: int, page_size: int) -> tuple[list[CollectionStats], int]:
        """One page of the visible collections, by name, and the number of all."""
        visible = visible_to(principal.username)
        query = select(CollectionRow, *_COUNTS).where(visible).order_by(CollectionRow.name, CollectionRow.id)
        query = query.limit(page_size).offset((page - 1) * page_size)

        def read(connection: Connection) -> tuple[list[CollectionStats], int]:
            collections = [value_of(CollectionStats, row) for row in connection.execute(query)]
            return collections, connection.scalar(select(func.count()).select_from(CollectionRow).where(visible)) or 0

        return await self._database.read(read)

    async def get(self, principal: Principal, collection_id: str) -> CollectionStats:
        """Raises NotFound `Collection not found`."""
        return await self._database.read(lambda connection: _stats(connection, principal, collection_id))

    async def change(self, principal: Principal, collection_id: str, changes: Mapping[str, str]) -> CollectionStats:
        """Set `name` or `description`. Raises NotFound, Forbidden, Conflict, BadRequest."""
        values = {field: _stripped(text) if field == "name" else text.strip() for field, text in changes.items()}

        def write(connection: Connection) -> CollectionStats:
            get_changeable(connection, principal, collection_id, lock=True)
            if values:
                statement = update(CollectionRow).where(CollectionRow.id == collection_id)
                connection.execute(statement.values(**values, updated_at=utc_now()))
            return _stats(connection, principal, collection_id)

        try:
            return await self._database.write(write)
        except IntegrityError:
            raise _name_taken(values["name"]) from None

    def _embedding(self, profile: Profile) -> tuple[str | None, str | None]:
        """The provider and the model of the profile's embeddings; None without a model.

        Raises BadRequest if the provider is not configured.
        """
        model = profile.knowledge.embedding_model
        if model is None:
            return None, None
        provider = profile.provider or self._providers.default.id
        if provider not in self._providers.ids:
            raise BadRequest(f"provider not found: {provider}", code="provider_not_found")
        return provider, model


def visible_to(username: str | None) -> ColumnElement[bool]:
    """The condition of the collections visible to a key bound to `username`; to an unbound key (None), all are."""
    return ~CollectionRow.deleting if username is None else shared_or_owned_by(username)


def shared_or_owned_by(username: str | None) -> ColumnElement[bool]:
    """The condition of the shared collections and the user's; of the shared ones only for None."""
    owners = or_(CollectionRow.owner == SHARED, CollectionRow.owner == (username or SHARED))
    return owners & ~CollectionRow.deleting


def list_collections(
    connection: Connection, condition: ColumnElement[bool], names: Sequence[str] | None = None
) -> list[Collection]:
    """Collections under a condition, by name; with `names`, only those with one of these names or ids."""
    if names is not None:
        condition = condition & or_(CollectionRow.id.in_(names), CollectionRow.name.in_(names))
    query = select(CollectionRow).where(condition).order_by(CollectionRow.name, CollectionRow.id)
    return [value_of(Collection, row) for row in connection.execute(query)]


def get_collection(
    connection: Connection, principal: Principal, collection_id: str, *, lock: bool = False
) -> Collection:
    """The collection; with `lock`, safe from other changes until the end of the transaction. Raises NotFound."""
    query = select(CollectionRow).where(CollectionRow.id == collection_id, visible_to(principal.username))
    # On SQLite the transaction itself is the lock.
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise _not_found()
    return value_of(Collection, row)


def get_changeable(
    connection: Connection, principal: Principal, collection_id: str, *, lock: bool = False
) -> Collection:
    """As `get_collection`, but Forbidden for a shared collection and a key bound to a user."""
    collection = get_collection(connection, principal, collection_id, lock=lock)
    if principal.username is not None and collection.owner != principal.username:
        raise Forbidden("A key bound to a username cannot change a shared collection", code="collection_shared")
    return collection


def _stats(connection: Connection, principal: Principal, collection_id: str) -> CollectionStats:
    query = select(CollectionRow, *_COUNTS)
    row = connection.execute(query.where(CollectionRow.id == collection_id, visible_to(principal.username))).first()
    if row is None:
        raise _not_found()
    return value_of(CollectionStats, row)


def _stripped(name: str) -> str:
    name = name.strip()
    if not name:
        raise BadRequest("name is empty", code="invalid_request")
    return name


def _not_found() -> NotFound:
    return NotFound("Collection not found", code="collection_not_found")


def _name_taken(name: str) -> Conflict:
    return Conflict(f"There is a collection of that name: {name}", code="collection_exists")
