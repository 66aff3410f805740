"""`POST /api/kernel2/chat`."""

from dataclasses import replace

from quart import Blueprint, Response

from app.completions.catalog import ModelCatalog
from app.completions.claims import claim_by_header
from app.completions.examples import INVALID_CODES, TOO_LARGE, UNREADABLE, UPSTREAM_ERRORS, completion_answer
from app.completions.respond import respond
from app.completions.values import CompletionLimits
from app.doors.second_me.dialect import KERNEL2
from app.doors.second_me.requests import parse_chat
from app.doors.second_me.role_routes import second_me_operation
from app.doors.second_me.schemas import CHAT_COMPLETION, CHAT_REQUEST, Kernel2Chunk
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, Body, refusal
from app.edge.services import service

blueprint = Blueprint("kernel2", __name__)

_QUESTION = "Where is the ladder?"


@blueprint.post("/api/kernel2/chat")
@second_me_operation(
    "kernel2Chat",
    "Chat as Second Me does",
    description=(
        "OpenAI's request and answer, streamed unless `stream` is false, and stateless: the client keeps the history. "
        "`metadata` names a role and turns the knowledge base on. `docs/second-me.md` tells it all."
    ),
    params=[IDEMPOTENCY_KEY],
    body=Body(
        CHAT_REQUEST,
        {
            "plain": {
                "messages": [{"role": "user", "content": _QUESTION}],
                "metadata": {"enable_l0_retrieval": True},
            },
            "former": {"message": _QUESTION, "system_prompt": "Be brief.", "history": []},
        },
    ),
    answers={
        200: completion_answer(
            "The chunks, or without `stream` the completion",
            CHAT_COMPLETION,
            Kernel2Chunk,
            {"content": "Hello!"},
            system_fingerprint="fp_44709d6fcb",
        )
    },
    errors={
        400: refusal("messages must be a list with at least one message (messages)", *INVALID_CODES),
        404: refusal("Role not found", "role_not_found"),
        413: refusal("The file in messages[0].content[0].file.file_data is larger than 10485760 bytes", *TOO_LARGE),
        422: refusal("report.pdf cannot be read: it is encrypted", *UNREADABLE),
        **UPSTREAM_ERRORS,
    },
)
async def chat() -> Response:
    body = await json_object(service(CompletionLimits).body_bytes)
    completion = parse_chat(body)
    # Second Me had one model and answered with it, whatever the name: an unknown name means the default.
    model = await service(ModelCatalog).known_name(completion.model)
    return await respond(replace(completion, model=model), KERNEL2, await claim_by_header("kernel2", body))
