"""The knowledge base for chats and the search routes."""

from collections.abc import Sequence

from app.auth.models import Principal
from app.database.engine import Database
from app.errors import BadRequest
from app.knowledge.collections import get_collection, list_collections, shared_or_owned_by, visible_to
from app.knowledge.models import SHARED, Collection, FoundPassage
from app.knowledge.search import Searcher
from app.workers.turns import Caller


class KnowledgeService:
    """Collections by name, and passages in them."""

    def __init__(self, database: Database, searcher: Searcher) -> None:
        self._database = database
        self._searcher = searcher

    async def collections_for(self, names: Sequence[str], username: str | None) -> list[Collection]:
        """The user's and the shared collections with these ids or names, each once.

        The user's own wins over a shared one of the same name. Raises BadRequest for a name without a collection.
        """
        return _resolve(names, await self._candidates(names, username), username)

    async def find_collections(self, names: Sequence[str], username: str | None) -> list[Collection]:
        """As `collections_for`, without the names that have no collection, or several."""
        candidates = await self._candidates(names, username)
        matches = [_matches(name, candidates, username) for name in names]
        return [collections[0] for collections in matches if len(collections) == 1]

    async def visible_to(self, username: str) -> list[Collection]:
        """The shared collections and those of the user, by name."""
        return await self._candidates(None, username)

    async def retrieve(
        self, query: str, collection_ids: Sequence[str], limit: int, caller: Caller
    ) -> list[FoundPassage]:
        """The passages relevant to the caller's query, best first."""
        return await self._searcher.search(query, collection_ids, limit, relevant_only=True, caller=caller)

    async def search(
        self, principal: Principal, query: str, names: Sequence[str] | None, limit: int
    ) -> list[FoundPassage]:
        """The best passages in the named collections, best first; for None, in all visible ones.

        Raises BadRequest for a collection that the principal does not see.
        """
        condition = visible_to(principal.username)
        collections = await self._database.read(lambda connection: list_collections(connection, condition, names))
        if names is not None:
            collections = _resolve(names, collections, principal.username)
        ids = [collection.id for collection in collections]
        return await self._searcher.search(query, ids, limit, caller=_caller_of(principal))

    async def search_collection(
        self, principal: Principal, collection_id: str, query: str, limit: int
    ) -> list[FoundPassage]:
        """The best passages of one collection, best first. Raises NotFound."""
        await self._database.read(lambda connection: get_collection(connection, principal, collection_id))
        return await self._searcher.search(query, [collection_id], limit, caller=_caller_of(principal))

    async def _candidates(self, names: Sequence[str] | None, username: str | None) -> list[Collection]:
        condition = shared_or_owned_by(username)
        return await self._database.read(lambda connection: list_collections(connection, condition, names))


def _caller_of(principal: Principal) -> Caller:
    return Caller(principal.key_id, principal.username or "")


def _resolve(names: Sequence[str], candidates: Sequence[Collection], username: str | None) -> list[Collection]:
    collections = {}
    for name in names:
        matches = _matches(name, candidates, username)
        if not matches:
            raise BadRequest(f"collection not found: {name}", code="collection_not_found")
        if len(matches) > 1:
            raise BadRequest(f"several collections have this name, use the id: {name}", code="collection_ambiguous")
        collections[matches[0].id] = matches[0]
    return list(collections.values())


def _matches(name: str, candidates: Sequence[Collection], username: str | None) -> list[Collection]:
    """The candidates for an id or a name."""
    matches = [collection for collection in candidates if collection.id == name]
    for owner in (username, SHARED):
        matches = matches or [
            collection for collection in candidates if collection.name == name and collection.owner == owner
        ]
    # An unbound key may mean any user's collection, if only one has that name.
    return matches or [collection for collection in candidates if collection.name == name]
