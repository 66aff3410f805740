"""`/v1/chat/completions`, `/v1/models` and `/v1/embeddings`."""

from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.completions.catalog import ModelCatalog
from app.completions.claims import claim_by_header
from app.completions.content import MAX_FILE_BYTES
from app.completions.errors import ERRORS, InvalidRequest
from app.completions.examples import INVALID_CODES, TOO_LARGE, UNREADABLE, UPSTREAM_ERRORS, completion_answer
from app.completions.requests import MAX_NAME_CHARS, parse_completion
from app.completions.respond import respond
from app.completions.schemas import COMPLETION, OpenAIModel
from app.completions.service import CompletionService
from app.completions.values import CompletionLimits, SessionPolicy
from app.doors.openai.dialect import OPENAI
from app.doors.openai.forms import body_from_form
from app.doors.openai.schemas import (
    COMPLETION_FORM,
    COMPLETION_REQUEST,
    EMBEDDINGS,
    EMBEDDINGS_REQUEST,
    CompletionChunk,
    OpenAIModelList,
)
from app.edge.bodies import LARGE_BYTES, JsonParser, json_object, reserve_memory
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation, refusal
from app.edge.responses import encoded_json, json_response
from app.edge.schemas import example_of
from app.edge.services import service
from app.errors import PayloadTooLarge
from app.files.forms import FormLimits, read_form

blueprint = Blueprint("openai", __name__)
openai_operation = partial(operation, scope=Scope.CHAT, tag="OpenAI-compatible", error_shape=ERRORS)

SESSION_KEY = Param(
    "x-session-key", "The session to go on with.", {"type": "string", "maxLength": MAX_NAME_CHARS}, "header"
)
MODEL = Param("model", "The name.", {"type": "string", "minLength": 1}, where="path")
FORM_TYPE = "multipart/form-data"
_MODEL_ERRORS = {404: refusal("The model `gpt-5` does not exist or you do not have access to it.", "model_not_found")}
_REQUEST = {"messages": [{"role": "user", "content": "hi"}]}


@blueprint.post("/v1/chat/completions")
@openai_operation(
    "createChatCompletion",
    "Create a chat completion",
    description=(
        "OpenAI's operation, over Palaver's runs. `session_id`, the header `x-session-key` or `thread_id` names a "
        "session that Palaver remembers. A request that names none and has one user message continues the default "
        "session where one person is behind the key; otherwise it is stateless, as is one with its own history. "
        "`docs/openai.md` has the details."
    ),
    params=[IDEMPOTENCY_KEY, SESSION_KEY],
    body=Body(
        COMPLETION_REQUEST,
        {"plain": _REQUEST, "session": {**_REQUEST, "session_id": "my-session", "stream": True}},
        other_media_types={FORM_TYPE: COMPLETION_FORM},
    ),
    answers={
        200: completion_answer(
            "The completion, or with `stream` its chunks",
            COMPLETION,
            CompletionChunk,
            {"role": "assistant", "content": "Hello!"},
        )
    },
    errors={
        400: refusal(
            "messages must be a list with at least one message", *INVALID_CODES, "missing_session_key", "invalid_form"
        ),
        404: refusal(
            "The model `gpt-5` does not exist or you do not have access to it.",
            "model_not_found",
            "role_not_found",
            "run_not_found",
        ),
        **UPSTREAM_ERRORS,
        408: refusal("The request did not arrive in time", "request_timeout"),
        409: refusal("The session is answering another message", "session_busy"),
        413: refusal("report.pdf is larger than 10485760 bytes", *TOO_LARGE),
        415: refusal("Content-Type must be application/json or multipart/form-data", "unsupported_media_type"),
        422: refusal("report.pdf cannot be read: it is encrypted", *UNREADABLE),
    },
)
async def create_completion() -> Response:
    body = await _body()
    session_key = request.headers.get("x-session-key")
    completion = parse_completion(body, session_key, service(SessionPolicy), caller().username)
    return await respond(completion, OPENAI, await claim_by_header("openai", [session_key, body]))


@blueprint.get("/v1/models")
@openai_operation(
    "listModels",
    "List the models",
    description="The names that a request's `model` may have: profiles, roles (`role:<name>`), and providers' models.",
    answers={200: Answer("The models", OpenAIModelList, {"object": "list", "data": [example_of(OpenAIModel)]})},
)
async def list_models() -> Response:
    return json_response(OpenAIModelList(await service(ModelCatalog).entries(caller())))


@blueprint.get("/v1/models/<path:model>")
@openai_operation(
    "retrieveModel",
    "Get a model",
    description="One of the names; it may hold slashes.",
    params=[MODEL],
    answers={200: Answer("The model", OpenAIModel)},
    errors=_MODEL_ERRORS,
)
async def retrieve_model(model: str) -> Response:
    return json_response(await service(ModelCatalog).find(caller(), model))


@blueprint.post("/v1/embeddings")
@openai_operation(
    "createEmbeddings",
    "Create embeddings",
    description="Passed on to the model's provider, and its answer back, as they are.",
    body=Body(EMBEDDINGS_REQUEST, {"text": {"model": "text-embedding-3-small", "input": "Hello"}}),
    answers={200: Answer("The embeddings", EMBEDDINGS, {"object": "list", "data": [], "model": "m", "usage": {}})},
    errors={
        400: refusal("Missing key: input", "missing_key", "invalid_request"),
        **_MODEL_ERRORS,
        **UPSTREAM_ERRORS,
        422: refusal("The model server rejected the request", "upstream_error"),
    },
)
async def create_embeddings() -> Response:
    body = await json_object(service(CompletionLimits).body_bytes)
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest("you must provide a model parameter", "model")
    if "input" not in body:
        raise InvalidRequest("Missing key: input", "input", code="missing_key")
    embeddings = await service(CompletionService).embed(caller(), model.strip(), body)
    return encoded_json(embeddings)


async def _body() -> dict[str, Any]:
    """The request's JSON, or the equivalent JSON of its form."""
    limit = service(CompletionLimits).body_bytes
    content_type = request.headers.get("Content-Type", "")
    if not content_type.lower().startswith(FORM_TYPE):
        return await json_object(limit)
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"The request body is larger than {limit} bytes")
    size = limit if request.content_length is None else request.content_length
    if size > LARGE_BYTES:
        await reserve_memory(size)
    form = await read_form(content_type, request.body, FormLimits(limit, MAX_FILE_BYTES))
    return await service(JsonParser).run(partial(body_from_form, form))
