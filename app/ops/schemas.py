"""Answers of the operator's routes."""

from typing import Literal

import msgspec


class Health(msgspec.Struct):
    status: Literal["healthy"] = "healthy"


class Readiness(msgspec.Struct):
    """`checks` says `ok` or `failed` of each part; the reason is in the log."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Literal["ok", "failed"]]


class Info(msgspec.Struct):
    """`endpoints` names each path, with its methods and what they do."""

    name: str
    message: str
    version: str
    description: str
    authentication: str
    endpoints: dict[str, str]
