"""`POST /api/kernel2/chat`."""

from dataclasses import replace

from quart import Blueprint, Response

from app.auth.scopes import Scope
from app.completions.catalog import ModelCatalog
from app.completions.claims import claim_by_header
from app.completions.respond import respond
from app.completions.values import CompletionLimits
from app.doors.second_me import examples
from app.doors.second_me.dialect import KERNEL2
from app.doors.second_me.errors import ERRORS
from app.doors.second_me.requests import parse_chat
from app.doors.second_me.role_routes import TAG
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, operation
from app.edge.services import service

blueprint = Blueprint("kernel2", __name__)


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
    body=examples.CHAT_BODY,
    answers={200: examples.CHAT_ANSWER},
    errors=examples.CHAT_ERRORS,
    tag=TAG,
    error_shape=ERRORS,
)
async def chat() -> Response:
    body = await json_object(service(CompletionLimits).body_bytes)
    completion = parse_chat(body)
    # Second Me had one model and answered with it, whatever the name: an unknown name means the default.
    model = await service(ModelCatalog).known_name(completion.model)
    return await respond(replace(completion, model=model), KERNEL2, await claim_by_header("kernel2", body))
