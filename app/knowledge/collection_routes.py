"""`/api/v1/knowledge/collections`, and the search in them."""

from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.bodies import body_errors, convert, json_object
from app.edge.operation import Answer, Body, Param, operation, refusal
from app.edge.paging import PAGING, PAGING_ERRORS, page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
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

T = TypeVar("T")

blueprint = Blueprint("collections", __name__)
knowledge_operation = partial(operation, scope=Scope.KNOWLEDGE, tag="Knowledge")

COLLECTION_ID: Final = Param("collection_id", "The collection's id.", {"type": "string"}, where="path")
COLLECTION_MISSING: Final = {404: refusal("Collection not found", "collection_not_found")}
IS_SHARED: Final = {403: refusal("A key bound to a username cannot change a shared collection", "collection_shared")}
_NAME_TAKEN: Final = {409: refusal("There is a collection of that name: garden", "collection_exists")}
_BODY_ERRORS: Final = body_errors(MAX_BODY_BYTES)
_COLLECTION: Final = Answer("The collection", CollectionItem, envelope="ApiResponseCollection")
_PASSAGES: Final = Answer("The best passages, the best first", FoundPassages, envelope="ApiResponseFoundPassages")
_QUERY: Final = "What grows under old trees?"


@blueprint.post("/api/v1/knowledge/collections")
@knowledge_operation(
    "createCollection",
    "Create a collection",
    description="A new, empty collection. A key bound to a username makes it for that user; an unbound one for "
    "`owner`, or for all.",
    body=Body(
        NewCollection,
        {
            "shared": {"name": "garden", "description": "What grows where"},
            "a user's": {"name": "notes", "owner": "alice"},
        },
    ),
    answers={201: _COLLECTION},
    errors={
        400: refusal("Missing key: name", "missing_key", "config_not_found", "provider_not_found", "username_reserved"),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
        **_NAME_TAKEN,
        **_BODY_ERRORS,
    },
)
async def create_collection() -> Response:
    new = await _body(NewCollection, required="name")
    collection = await service(CollectionService).create(
        caller(), name=new.name, description=new.description, owner=new.owner, config_id=new.config_id
    )
    return ok(CollectionItem.of(collection), 201)


@blueprint.get("/api/v1/knowledge/collections")
@knowledge_operation(
    "listCollections",
    "List the collections",
    description="Those that the key may see, by name: for a key bound to a username that user's and the shared ones, "
    "for an unbound one all.",
    params=PAGING,
    answers={200: Answer("One page", CollectionPage, envelope="ApiResponseCollections")},
    errors=PAGING_ERRORS,
)
async def list_collections() -> Response:
    page, page_size = page_of(request.args)
    collections, total = await service(CollectionService).page(caller(), page=page, page_size=page_size)
    return ok(CollectionPage([CollectionItem.of(collection) for collection in collections], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>")
@knowledge_operation(
    "getCollection",
    "Get a collection",
    description="One collection, with the numbers of its documents and of the passages that can be found.",
    params=[COLLECTION_ID],
    answers={200: _COLLECTION},
    errors=COLLECTION_MISSING,
)
async def get_collection(collection_id: str) -> Response:
    return ok(CollectionItem.of(await service(CollectionService).get(caller(), collection_id)))


@blueprint.patch("/api/v1/knowledge/collections/<collection_id>")
@knowledge_operation(
    "changeCollection",
    "Change a collection",
    description="Sets the collection's name or its description.",
    params=[COLLECTION_ID],
    body=Body(CollectionChange, {"rename": {"name": "shade garden"}}),
    answers={200: _COLLECTION},
    errors={
        400: refusal("name is empty", "invalid_request"),
        **IS_SHARED,
        **COLLECTION_MISSING,
        **_NAME_TAKEN,
        **_BODY_ERRORS,
    },
)
async def change_collection(collection_id: str) -> Response:
    change = await _body(CollectionChange)
    changes = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    return ok(CollectionItem.of(await service(CollectionService).change(caller(), collection_id, changes)))


@blueprint.delete("/api/v1/knowledge/collections/<collection_id>")
@knowledge_operation(
    "deleteCollection",
    "Delete a collection",
    description="Deletes the collection with its documents, which are in no answer from now on. Attachments that were "
    "added by their id stay.",
    params=[COLLECTION_ID],
    answers={200: Answer("It is gone", DeletedCollection, envelope="ApiResponseDeletedCollection")},
    errors={**IS_SHARED, **COLLECTION_MISSING},
)
async def delete_collection(collection_id: str) -> Response:
    await service(DocumentService).delete_collection(caller(), collection_id)
    return ok(DeletedCollection(collection_id))


@blueprint.post("/api/v1/knowledge/collections/<collection_id>/search")
@knowledge_operation(
    "searchCollection",
    "Search a collection",
    description="The passages of the collection's ready documents that match the query best.",
    params=[COLLECTION_ID],
    body=Body(SearchRequest, {"question": {"query": _QUERY, "limit": 3}}),
    answers={200: _PASSAGES},
    errors={400: refusal("Missing key: query", "missing_key"), **COLLECTION_MISSING, **_BODY_ERRORS},
)
async def search_collection(collection_id: str) -> Response:
    search = await _body(SearchRequest, required="query")
    knowledge = service(KnowledgeService)
    passages = await knowledge.search_collection(caller(), collection_id, search.query, int(search.limit))
    return ok(FoundPassages(passages))


@blueprint.post("/api/v1/knowledge/search")
@knowledge_operation(
    "searchKnowledge",
    "Search several collections",
    description="The passages that match the query best, in the named collections, or in all that the key may see. Of "
    "a user's collection and a shared one of the same name, the user's is meant.",
    body=Body(SearchEverywhereRequest, {"question": {"query": _QUERY, "collections": ["garden"], "limit": 3}}),
    answers={200: _PASSAGES},
    errors={
        400: refusal("collection not found: X", "collection_not_found", "collection_ambiguous", "missing_key"),
        **_BODY_ERRORS,
    },
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
