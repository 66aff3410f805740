"""`/api/v1/knowledge/collections`, and searching in them."""

from typing import Any

from msgspec import UNSET
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.knowledge.collections import CollectionService
from app.knowledge.documents import DocumentService
from app.knowledge.schemas import (
    COLLECTION_EXAMPLE,
    FOUND_EXAMPLE,
    CollectionChange,
    CollectionItem,
    CollectionPage,
    DeletedCollection,
    FoundPassage,
    FoundPassages,
    NewCollection,
    SearchEverywhereRequest,
    SearchRequest,
)
from app.knowledge.service import KnowledgeService

MAX_BODY_BYTES = 64 * 1024
TAG = "Knowledge"
PAGING = [
    Param("page", "Below 1 counts as 1.", {"type": "integer", "default": 1}),
    Param("page_size", "Held to 1..100.", {"type": "integer", "default": 20}),
]
COLLECTION_ID = Param("collection_id", "The collection's id.", {"type": "string"}, where="path", required=True)
NOT_FOUND = "Collection not found"
SHARED = "A key bound to a username cannot change a shared collection"
BODY_ERRORS = {
    413: f"The request body is larger than {MAX_BODY_BYTES} bytes",
    415: "Content-Type must be application/json",
}
_ENVELOPE = "ApiResponseCollection"
_FOUND = {
    200: Answer(
        "The best passages, the best first",
        FoundPassages,
        envelope="ApiResponseFoundPassages",
        example={"passages": [FOUND_EXAMPLE]},
    )
}

blueprint = Blueprint("collections", __name__)


@blueprint.post("/api/v1/knowledge/collections")
@operation(
    "createCollection",
    "Create a collection",
    scope=Scope.KNOWLEDGE,
    description="A new, empty collection. A key bound to a username makes it for that user; an unbound one for "
    "`owner`, or for all.",
    body=Body(
        NewCollection,
        examples={
            "shared": {"name": "garden", "description": "What grows where"},
            "a user's": {"name": "notes", "owner": "alice"},
        },
    ),
    answers={201: Answer("The collection", CollectionItem, envelope=_ENVELOPE, example=COLLECTION_EXAMPLE)},
    errors={
        400: "Missing key: name",
        403: "The API key is bound to another username",
        409: "There is a collection of that name: garden",
        **BODY_ERRORS,
    },
    tag=TAG,
)
async def create_collection() -> Response:
    body = await json_object(MAX_BODY_BYTES)
    _require(body, "name")
    wanted = convert(body, NewCollection)
    made = await service(CollectionService).create(
        caller(), name=wanted.name, description=wanted.description, owner=wanted.owner, config_id=wanted.config_id
    )
    return ok(CollectionItem.of(made), 201)


@blueprint.get("/api/v1/knowledge/collections")
@operation(
    "listCollections",
    "List the collections",
    scope=Scope.KNOWLEDGE,
    description="Those that the key may see, by name: for a key bound to a username that user's and the shared ones, "
    "for an unbound one all.",
    params=PAGING,
    answers={
        200: Answer(
            "One page",
            CollectionPage,
            envelope="ApiResponseCollections",
            example={"collections": [COLLECTION_EXAMPLE], "page": 1, "page_size": 20, "total": 1},
        )
    },
    errors={400: "page and page_size must be integers"},
    tag=TAG,
)
async def list_collections() -> Response:
    page, page_size = page_of(request.args)
    collections, total = await service(CollectionService).page(caller(), page=page, page_size=page_size)
    return ok(CollectionPage([CollectionItem.of(each) for each in collections], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>")
@operation(
    "getCollection",
    "Get a collection",
    scope=Scope.KNOWLEDGE,
    description="One collection, with the numbers of its documents and of the passages that can be found.",
    params=[COLLECTION_ID],
    answers={200: Answer("The collection", CollectionItem, envelope=_ENVELOPE, example=COLLECTION_EXAMPLE)},
    errors={404: NOT_FOUND},
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
    params=[COLLECTION_ID],
    body=Body(CollectionChange, examples={"rename": {"name": "shade garden"}}),
    answers={200: Answer("The collection", CollectionItem, envelope=_ENVELOPE, example=COLLECTION_EXAMPLE)},
    errors={
        400: "name is empty",
        403: SHARED,
        404: NOT_FOUND,
        409: "There is a collection of that name: garden",
        **BODY_ERRORS,
    },
    tag=TAG,
)
async def change_collection(collection_id: str) -> Response:
    wanted = convert(await json_object(MAX_BODY_BYTES), CollectionChange)
    given = {"name": wanted.name, "description": wanted.description}
    changes = {name: value for name, value in given.items() if value is not UNSET}
    return ok(CollectionItem.of(await service(CollectionService).change(caller(), collection_id, changes)))


@blueprint.delete("/api/v1/knowledge/collections/<collection_id>")
@operation(
    "deleteCollection",
    "Delete a collection",
    scope=Scope.KNOWLEDGE,
    description="Deletes the collection with its documents, which are in no answer from now on. Attachments that were "
    "added by their id stay.",
    params=[COLLECTION_ID],
    answers={
        200: Answer(
            "It is gone",
            DeletedCollection,
            envelope="ApiResponseDeletedCollection",
            example={"collection_id": COLLECTION_EXAMPLE["collection_id"]},
        )
    },
    errors={403: SHARED, 404: NOT_FOUND},
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
    params=[COLLECTION_ID],
    body=Body(SearchRequest, examples={"question": {"query": "What grows under old trees?", "limit": 3}}),
    answers=_FOUND,
    errors={400: "Missing key: query", 404: NOT_FOUND, **BODY_ERRORS},
    tag=TAG,
)
async def search_collection(collection_id: str) -> Response:
    body = await json_object(MAX_BODY_BYTES)
    _require(body, "query")
    wanted = convert(body, SearchRequest)
    await service(CollectionService).get(caller(), collection_id)
    found = await service(KnowledgeService).search(caller(), wanted.query, [collection_id], int(wanted.limit))
    return ok(FoundPassages([FoundPassage.found(*each) for each in found]))


@blueprint.post("/api/v1/knowledge/search")
@operation(
    "searchKnowledge",
    "Search several collections",
    scope=Scope.KNOWLEDGE,
    description="The passages that match the query best, in the named collections, or in all that the key may see. Of "
    "a user's collection and a shared one of the same name, the user's is meant.",
    body=Body(
        SearchEverywhereRequest,
        examples={"question": {"query": "What grows under old trees?", "collections": ["garden"], "limit": 3}},
    ),
    answers=_FOUND,
    errors={400: "collection not found: X", **BODY_ERRORS},
    tag=TAG,
)
async def search_knowledge() -> Response:
    body = await json_object(MAX_BODY_BYTES)
    _require(body, "query")
    wanted = convert(body, SearchEverywhereRequest)
    found = await service(KnowledgeService).search(caller(), wanted.query, wanted.collections, int(wanted.limit))
    return ok(FoundPassages([FoundPassage.found(*each) for each in found]))


def _require(body: dict[str, Any], field: str) -> None:
    if field not in body:
        raise BadRequest(f"Missing key: {field}", code="missing_key")
