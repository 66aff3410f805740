"""`/api/v1/knowledge/collections`, and the search in them."""

from typing import TypeVar

import msgspec
from msgspec import UNSET
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.bodies import convert, json_object
from app.edge.operation import operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.knowledge import examples
from app.knowledge.collections import CollectionService
from app.knowledge.documents import DocumentService
from app.knowledge.schemas import (
    MAX_BODY_BYTES,
    CollectionChange,
    CollectionItem,
    CollectionPage,
    DeletedCollection,
    FoundPassages,
    NewCollection,
    SearchEverywhereRequest,
    SearchRequest,
)
from app.knowledge.service import KnowledgeService

TAG = "Knowledge"

T = TypeVar("T")

blueprint = Blueprint("collections", __name__)


@blueprint.post("/api/v1/knowledge/collections")
@operation(
    "createCollection",
    "Create a collection",
    scope=Scope.KNOWLEDGE,
    description="A new, empty collection. A key bound to a username makes it for that user; an unbound one for "
    "`owner`, or for all.",
    body=examples.NEW_COLLECTION,
    answers=examples.CREATED_COLLECTION,
    errors=examples.CREATE_ERRORS,
    tag=TAG,
)
async def create_collection() -> Response:
    new = await _body(NewCollection, required="name")
    collection = await service(CollectionService).create(
        caller(), name=new.name, description=new.description, owner=new.owner, config_id=new.config_id
    )
    return ok(CollectionItem.of(collection), 201)


@blueprint.get("/api/v1/knowledge/collections")
@operation(
    "listCollections",
    "List the collections",
    scope=Scope.KNOWLEDGE,
    description="Those that the key may see, by name: for a key bound to a username that user's and the shared ones, "
    "for an unbound one all.",
    params=examples.PAGING,
    answers=examples.COLLECTIONS,
    errors=examples.LIST_ERRORS,
    tag=TAG,
)
async def list_collections() -> Response:
    page, page_size = page_of(request.args)
    collections, total = await service(CollectionService).page(caller(), page=page, page_size=page_size)
    return ok(CollectionPage([CollectionItem.of(collection) for collection in collections], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>")
@operation(
    "getCollection",
    "Get a collection",
    scope=Scope.KNOWLEDGE,
    description="One collection, with the numbers of its documents and of the passages that can be found.",
    params=[examples.COLLECTION_ID],
    answers=examples.COLLECTION,
    errors=examples.GET_ERRORS,
    tag=TAG,
)
async def get_collection(collection_id: str) -> Response:
    return ok(CollectionItem.of(await service(CollectionService).get(caller(), collection_id)))


@blueprint.patch("/api/v1/knowledge/collections/<collection_id>")
@operation(
    "changeCollection",
    "Change a collection",
    scope=Scope.KNOWLEDGE,
    description="Sets the collection's name or its description.",
    params=[examples.COLLECTION_ID],
    body=examples.COLLECTION_CHANGE,
    answers=examples.COLLECTION,
    errors=examples.CHANGE_ERRORS,
    tag=TAG,
)
async def change_collection(collection_id: str) -> Response:
    change = await _body(CollectionChange)
    changes = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    return ok(CollectionItem.of(await service(CollectionService).change(caller(), collection_id, changes)))


@blueprint.delete("/api/v1/knowledge/collections/<collection_id>")
@operation(
    "deleteCollection",
    "Delete a collection",
    scope=Scope.KNOWLEDGE,
    description="Deletes the collection with its documents, which are in no answer from now on. Attachments that were "
    "added by their id stay.",
    params=[examples.COLLECTION_ID],
    answers=examples.DELETED_COLLECTION,
    errors=examples.DELETE_ERRORS,
    tag=TAG,
)
async def delete_collection(collection_id: str) -> Response:
    await service(DocumentService).delete_collection(caller(), collection_id)
    return ok(DeletedCollection(collection_id))


@blueprint.post("/api/v1/knowledge/collections/<collection_id>/search")
@operation(
    "searchCollection",
    "Search a collection",
    scope=Scope.KNOWLEDGE,
    description="The passages of the collection's ready documents that match the query best.",
    params=[examples.COLLECTION_ID],
    body=examples.SEARCH,
    answers=examples.FOUND_PASSAGES,
    errors=examples.SEARCH_ERRORS,
    tag=TAG,
)
async def search_collection(collection_id: str) -> Response:
    search = await _body(SearchRequest, required="query")
    knowledge = service(KnowledgeService)
    passages = await knowledge.search_collection(caller(), collection_id, search.query, int(search.limit))
    return ok(FoundPassages(passages))


@blueprint.post("/api/v1/knowledge/search")
@operation(
    "searchKnowledge",
    "Search several collections",
    scope=Scope.KNOWLEDGE,
    description="The passages that match the query best, in the named collections, or in all that the key may see. Of "
    "a user's collection and a shared one of the same name, the user's is meant.",
    body=examples.SEARCH_EVERYWHERE,
    answers=examples.FOUND_PASSAGES,
    errors=examples.SEARCH_EVERYWHERE_ERRORS,
    tag=TAG,
)
async def search_knowledge() -> Response:
    search = await _body(SearchEverywhereRequest, required="query")
    knowledge = service(KnowledgeService)
    return ok(FoundPassages(await knowledge.search(caller(), search.query, search.collections, int(search.limit))))


async def _body(shape: type[T], *, required: str | None = None) -> T:
    body = await json_object(MAX_BODY_BYTES)
    if required is not None and required not in body:
        raise BadRequest(f"Missing key: {required}", code="missing_key")
    return convert(body, shape)
