"""Searching: which collections are meant, and what bears on a question in them."""

from collections.abc import Sequence

from app.auth.models import Principal
from app.errors import BadRequest
from app.knowledge.collections import CollectionService, shared_or_of, visible_to
from app.knowledge.models import SHARED, Collection, Found
from app.knowledge.search import Searcher


class KnowledgeService:
    """What chat and the search routes ask of the collections."""

    def __init__(self, collections: CollectionService, searcher: Searcher) -> None:
        self._collections = collections
        self._searcher = searcher

    async def collections_for(self, names: Sequence[str], username: str | None) -> list[Collection]:
        """The collections with these ids or names among the shared ones and those of the user, each once.

        The user's own wins over a shared one of the same name. Raises BadRequest for one that is not among them.
        """
        return _pick(names, await self._collections.named(names, shared_or_of(username)), username)

    async def find_collections(self, names: Sequence[str], username: str | None) -> list[Collection]:
        """The same for those that are there and meant clearly; the others are left out."""
        candidates = await self._collections.named(names, shared_or_of(username))
        return [meant[0] for name in names if len(meant := _meant(name, candidates, username)) == 1]

    async def visible_to(self, username: str) -> list[Collection]:
        """The shared collections and those of the user, by name."""
        return await self._collections.all(shared_or_of(username))

    async def retrieve(self, query: str, collection_ids: Sequence[str], limit: int) -> list[Found]:
        """The passages that bear on the query, the best first; none when none does."""
        if not collection_ids:
            return []
        return await self._searcher.search(query, collection_ids, limit, relevant_only=True)

    async def search(
        self, principal: Principal, query: str, names: Sequence[str] | None, limit: int
    ) -> list[tuple[Found, Collection]]:
        """The best passages in the named collections (None: in all that the principal sees), the best first.

        Raises BadRequest for a collection that the principal does not see.
        """
        seen = visible_to(principal.username)
        if names is None:
            collections = await self._collections.all(seen)
        else:
            collections = _pick(names, await self._collections.named(names, seen), principal.username)
        by_id = {each.id: each for each in collections}
        found = await self._searcher.search(query, list(by_id), limit) if by_id else []
        return [(each, by_id[each.collection_id]) for each in found]


def _pick(names: Sequence[str], candidates: Sequence[Collection], username: str | None) -> list[Collection]:
    picked = {}
    for name in names:
        named = _meant(name, candidates, username)
        if not named:
            raise BadRequest(f"collection not found: {name}", code="collection_not_found")
        if len(named) > 1:
            raise BadRequest(f"several collections have this name, use the id: {name}", code="collection_ambiguous")
        picked[named[0].id] = named[0]
    return list(picked.values())


def _meant(name: str, candidates: Sequence[Collection], username: str | None) -> list[Collection]:
    """The candidates that an id or a name may mean."""
    named = [each for each in candidates if each.id == name]
    for owner in (username, SHARED):
        named = named or [each for each in candidates if each.name == name and each.owner == owner]
    # A key bound to nobody may mean a user's, if only one has a collection of that name.
    return named or [each for each in candidates if each.name == name]
