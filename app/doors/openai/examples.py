"""Bodies, answers and errors of `/v1` for the published document, with examples."""

from app.completions.examples import UPSTREAM_ERRORS, chunk_example, completion_example
from app.completions.respond import RUN_ID
from app.completions.schemas import COMPLETION, OpenAIModel
from app.doors.openai.schemas import (
    COMPLETION_FORM,
    COMPLETION_REQUEST,
    EMBEDDINGS,
    EMBEDDINGS_REQUEST,
    CompletionChunk,
    OpenAIModelList,
)
from app.edge.operation import Answer, Body

FORM_TYPE = "multipart/form-data"

_CHUNK = chunk_example({"role": "assistant", "content": "Hello!"}, {})
_MODEL = {"id": "gpt-4.1-mini", "owned_by": "openai_chat_completion", "object": "model", "created": 0}
_REQUEST = {"messages": [{"role": "user", "content": "hi"}]}

COMPLETION_BODY = Body(
    COMPLETION_REQUEST,
    examples={"plain": _REQUEST, "session": {**_REQUEST, "session_id": "my-session", "stream": True}},
    other_media_types={FORM_TYPE: COMPLETION_FORM},
)
COMPLETION_ANSWER = Answer(
    "The completion, or with `stream` its chunks",
    COMPLETION,
    example=completion_example({}),
    headers=RUN_ID,
    stream=Answer("Chunks", CompletionChunk, example=[_CHUNK], media_type="text/event-stream"),
)
MODELS_ANSWER = Answer("The models", OpenAIModelList, example={"object": "list", "data": [_MODEL]})
MODEL_ANSWER = Answer("The model", OpenAIModel, example=_MODEL)
EMBEDDINGS_BODY = Body(EMBEDDINGS_REQUEST, examples={"text": {"model": "text-embedding-3-small", "input": "Hello"}})
EMBEDDINGS_ANSWER = Answer(
    "The embeddings", EMBEDDINGS, example={"object": "list", "data": [], "model": "m", "usage": {}}
)

MODEL_ERRORS = {404: "The model `gpt-5` does not exist or you do not have access to it."}
COMPLETION_ERRORS = {
    400: "messages must be a list with at least one message",
    **MODEL_ERRORS,
    **UPSTREAM_ERRORS,
    408: "The request did not arrive in time",
    409: "The session is answering another message",
    413: "report.pdf is larger than 10485760 bytes",
    415: "Content-Type must be application/json or multipart/form-data",
    422: "report.pdf cannot be read: it is encrypted",
}
EMBEDDINGS_ERRORS = {**MODEL_ERRORS, **UPSTREAM_ERRORS, 422: "The model server rejected the request"}
