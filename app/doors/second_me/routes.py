"""`POST /api/kernel2/chat`."""

from dataclasses import replace

from quart import Blueprint, Response

from app.auth.scopes import Scope
from app.completions.catalog import ModelCatalog
from app.completions.respond import RUN_ID, OpenAILimits, claim_by_header, respond
from app.doors.second_me.encoding import KERNEL2
from app.doors.second_me.errors import ERRORS
from app.doors.second_me.requests import parse_chat
from app.doors.second_me.role_routes import TAG
from app.doors.second_me.schemas import CHAT_COMPLETION, CHAT_REQUEST, Kernel2Chunk
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, operation
from app.edge.services import service

blueprint = Blueprint("kernel2", __name__)

_CHUNK = {
    "id": "chatcmpl-6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "object": "chat.completion.chunk",
    "created": 1790000000,
    "model": "gpt-4.1-mini",
    "system_fingerprint": "fp_44709d6fcb",
    "choices": [{"index": 0, "delta": {"content": "Hello!"}, "finish_reason": None}],
}
_COMPLETION = {
    **_CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
_USER = {"role": "user", "content": "Where is the ladder?"}


@blueprint.post("/api/kernel2/chat")
@operation(
    "kernel2Chat",
    "Chat as Second Me does",
    scope=Scope.CHAT,
    description=(
        "OpenAI's request and answer, streamed unless `stream` is false, and stateless: the client keeps the history. "
        "`metadata` names a role and turns the knowledge base on. `docs/second-me.md` tells it all."
    ),
    params=[IDEMPOTENCY_KEY],
    body=Body(
        CHAT_REQUEST,
        examples={
            "plain": {"messages": [_USER], "metadata": {"enable_l0_retrieval": True}},
            "former": {"message": "Where is the ladder?", "system_prompt": "Be brief.", "history": []},
        },
    ),
    answers={
        200: Answer(
            "The chunks, or without `stream` the completion",
            CHAT_COMPLETION,
            example=_COMPLETION,
            headers=RUN_ID,
            stream=Answer("Chunks", Kernel2Chunk, example=[_CHUNK], media_type="text/event-stream"),
        )
    },
    errors={
        400: "messages must be a list with at least one message (messages)",
        404: "Role not found",
        413: "The file in messages[0].content[0].file.file_data is larger than 10485760 bytes",
        422: "report.pdf cannot be read: it is encrypted",
        429: "Too many replies at once",
        500: "Internal server error",
        502: "The model server failed",
        503: "The database is not available at the moment; nothing was changed",
        504: "The model server did not answer in time",
    },
    tag=TAG,
    error_shape=ERRORS,
)
async def chat() -> Response:
    body = await json_object(service(OpenAILimits).body_bytes)
    wanted = parse_chat(body)
    # Second Me answered with the model it had, whatever name came; what is known here is meant.
    wanted = replace(wanted, model=await service(ModelCatalog).if_known(wanted.model))
    return await respond(wanted, await claim_by_header("kernel2", body), KERNEL2)
