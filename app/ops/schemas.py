"""Answers of the operator's routes."""

from typing import Annotated, Literal

import msgspec

from app.edge.schemas import example


class Health(msgspec.Struct):
    status: Literal["healthy"] = "healthy"


class Readiness(msgspec.Struct):
    """`checks` says `ok` or `failed` of each part; the reason is in the log."""

    status: Annotated[Literal["ready", "not_ready"], example("ready")]
    checks: Annotated[dict[str, Literal["ok", "failed"]], example({"database": "ok", "storage": "ok"})]


class Info(msgspec.Struct):
    """`endpoints` names each path, with its methods and what they do."""

    name: Annotated[str, example("Palaver")]
    message: Annotated[str, example("Palaver Open API")]
    version: Annotated[str, example("0.1.0")]
    description: Annotated[
        str, example("A self-hosted Open API for chat bots: one dependable door to LLM conversations.")
    ]
    authentication: Annotated[str, example("Bearer Token (API Key), or the same key in the header X-API-Key")]
    endpoints: Annotated[dict[str, str], example({"/health": "GET - Is the process alive?"})]
