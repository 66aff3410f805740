"""`/v1/chat/completions`, `/v1/models` and `/v1/embeddings`."""

from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.completions.catalog import ModelCatalog, ModelEntry
from app.completions.chunks import OPENAI
from app.completions.content import MAX_FILE_BYTES
from app.completions.errors import ERRORS, InvalidRequest
from app.completions.forms import body_of
from app.completions.requests import MAX_NAME_CHARS, SessionPolicy, parse_completion
from app.completions.respond import RUN_ID, OpenAILimits, claim_by_header, respond
from app.completions.schemas import (
    COMPLETION,
    COMPLETION_FORM,
    COMPLETION_REQUEST,
    EMBEDDINGS,
    EMBEDDINGS_REQUEST,
    CompletionChunk,
    OpenAIModel,
    OpenAIModelList,
)
from app.completions.service import CompletionService
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import PayloadTooLarge
from app.files.forms import FormLimits, read_form

blueprint = Blueprint("openai", __name__)

TAG = "OpenAI-compatible"
_FORM = "multipart/form-data"

_CHUNK = {
    "id": "chatcmpl-6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "object": "chat.completion.chunk",
    "created": 1790000000,
    "model": "gpt-4.1-mini",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello!"}, "finish_reason": None}],
}
_COMPLETION = {
    **_CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
_MODEL = {"id": "gpt-4.1-mini", "owned_by": "openai_chat_completion", "object": "model", "created": 0}
_NO_MODEL = "The model `gpt-5` does not exist or you do not have access to it."
_UPSTREAM_ERRORS = {
    404: _NO_MODEL,
    429: "Too many replies at once",
    500: "Internal server error",
    502: "The model server failed",
    503: "The database is not available at the moment; nothing was changed",
    504: "The model server did not answer in time",
}
_ASKED = {"messages": [{"role": "user", "content": "hi"}]}


@blueprint.post("/v1/chat/completions")
@operation(
    "createChatCompletion",
    "Create a chat completion",
    scope=Scope.CHAT,
    description=(
        "OpenAI's operation, over Palaver's runs. `session_id`, the header `x-session-key` or `thread_id` names a "
        "session that Palaver remembers; a request that names none and has one user message goes on with the key's "
        "default session, and one that brings its own history is stateless. `docs/openai.md` tells it all."
    ),
    params=[
        IDEMPOTENCY_KEY,
        Param("x-session-key", "The session to go on with.", {"type": "string", "maxLength": MAX_NAME_CHARS}, "header"),
    ],
    body=Body(
        COMPLETION_REQUEST,
        examples={"plain": _ASKED, "session": {**_ASKED, "session_id": "my-session", "stream": True}},
        other_media_types={_FORM: COMPLETION_FORM},
    ),
    answers={
        200: Answer(
            "The completion, or with `stream` its chunks",
            COMPLETION,
            example=_COMPLETION,
            headers=RUN_ID,
            stream=Answer("Chunks", CompletionChunk, example=[_CHUNK], media_type="text/event-stream"),
        )
    },
    errors={
        400: "messages must be a list with at least one message",
        **_UPSTREAM_ERRORS,
        408: "The request did not arrive in time",
        409: "The session is answering another message",
        413: "report.pdf is larger than 10485760 bytes",
        415: "Content-Type must be application/json or multipart/form-data",
        422: "report.pdf cannot be read: it is encrypted",
    },
    tag=TAG,
    error_shape=ERRORS,
)
async def create_completion() -> Response:
    body = await _body()
    session_key = request.headers.get("x-session-key")
    wanted = parse_completion(body, session_key, service(SessionPolicy))
    return await respond(wanted, await claim_by_header("openai", [session_key, body]), OPENAI)


@blueprint.get("/v1/models")
@operation(
    "listModels",
    "List the models",
    scope=Scope.CHAT,
    description="The names that a request's `model` may have: profiles, roles (`role:<name>`), and providers' models.",
    answers={200: Answer("The models", OpenAIModelList, example={"object": "list", "data": [_MODEL]})},
    tag=TAG,
    error_shape=ERRORS,
)
async def list_models() -> Response:
    entries = await service(ModelCatalog).entries(caller())
    return json_response(OpenAIModelList([_model(entry) for entry in entries]))


@blueprint.get("/v1/models/<path:model>")
@operation(
    "retrieveModel",
    "Get a model",
    scope=Scope.CHAT,
    description="One of the names; it may hold slashes.",
    params=[Param("model", "The name.", {"type": "string", "minLength": 1}, where="path")],
    answers={200: Answer("The model", OpenAIModel, example=_MODEL)},
    errors={404: _NO_MODEL},
    tag=TAG,
    error_shape=ERRORS,
)
async def retrieve_model(model: str) -> Response:
    return json_response(_model(await service(ModelCatalog).find(caller(), model)))


@blueprint.post("/v1/embeddings")
@operation(
    "createEmbeddings",
    "Create embeddings",
    scope=Scope.CHAT,
    description="Passed on to the model's provider, and its answer back, as they are.",
    body=Body(EMBEDDINGS_REQUEST, examples={"text": {"model": "text-embedding-3-small", "input": "Hello"}}),
    answers={
        200: Answer("The embeddings", EMBEDDINGS, example={"object": "list", "data": [], "model": "m", "usage": {}})
    },
    errors={**_UPSTREAM_ERRORS, 422: "The model server rejected the request"},
    tag=TAG,
    error_shape=ERRORS,
)
async def create_embeddings() -> Response:
    body = await json_object(service(OpenAILimits).body_bytes)
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest("you must provide a model parameter", "model")
    if "input" not in body:
        raise InvalidRequest("Missing key: input", "input", code="missing_key")
    whole = await service(CompletionService).embed(caller(), model.strip(), body)
    return Response(whole, content_type="application/json")


async def _body() -> dict[str, Any]:
    """The request's JSON, or its form as the JSON that says the same."""
    limit = service(OpenAILimits).body_bytes
    content_type = request.headers.get("Content-Type", "")
    if not content_type.lower().startswith(_FORM):
        return await json_object(limit)
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"The request body is larger than {limit} bytes")
    return body_of(await read_form(content_type, request.body, FormLimits(limit, MAX_FILE_BYTES)))


def _model(entry: ModelEntry) -> OpenAIModel:
    return OpenAIModel(entry.id, entry.owned_by)
