"""Whether the server is alive and ready, and its metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import structlog
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Response, request

from app.auth.guards import authorize
from app.auth.scopes import Scope
from app.database.engine import Database
from app.edge.operation import PUBLIC, Answer, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.telemetry.metrics import Metrics

TAG: Final = "Operation"
CHECK_TIMEOUT_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)
blueprint = Blueprint("health", __name__)

Check = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class OpsPolicy:
    """Who may see the numbers: everyone, or keys with the scope `admin`."""

    metrics_public: bool = True


@dataclass(frozen=True, slots=True)
class ReadyChecks:
    """What must work for this server to be of use: each check raises when its part does not."""

    checks: Mapping[str, Check]
    timeout_seconds: float = CHECK_TIMEOUT_SECONDS

    async def run(self) -> dict[str, bool]:
        """Whether each part works and says so in time."""
        outcomes = await asyncio.gather(
            *(asyncio.wait_for(check(), self.timeout_seconds) for check in self.checks.values()),
            return_exceptions=True,
        )
        for name, outcome in zip(self.checks, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                log.warning("not_ready", check=name, error=repr(outcome))
        return {
            name: not isinstance(outcome, BaseException) for name, outcome in zip(self.checks, outcomes, strict=True)
        }


def database_check(database: Database) -> Check:
    """That the database answers, and has been migrated."""

    async def check() -> None:
        # A bare `SELECT 1` never reaches SQLite's file.
        async with database.read_block() as connection:
            await connection.exec_driver_sql("SELECT version_num FROM alembic_version")

    return check


class Health(msgspec.Struct):
    status: Literal["healthy"] = "healthy"


class Readiness(msgspec.Struct):
    """`checks` says `ok` or `failed` of each part; the reason is in the log."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Literal["ok", "failed"]]


@blueprint.get("/health")
@operation(
    "getHealth",
    "Is the process alive?",
    scope=PUBLIC,
    description="Answers as long as the process does; `/ready` asks its parts as well.",
    answers={200: Answer("It is", Health, example={"status": "healthy"})},
    tag=TAG,
)
async def health() -> Response:
    return json_response(Health())


@blueprint.get("/ready")
@operation(
    "getReadiness",
    "Can the server do its work?",
    scope=PUBLIC,
    description="Asks the database and the storage, and waits two seconds for them at most.",
    answers={
        200: Answer("It can", Readiness, example={"status": "ready", "checks": {"database": "ok", "storage": "ok"}}),
        503: Answer(
            "It cannot", Readiness, example={"status": "not_ready", "checks": {"database": "ok", "storage": "failed"}}
        ),
    },
    tag=TAG,
)
async def ready() -> Response:
    works = await service(ReadyChecks).run()
    all_work = all(works.values())
    answer = Readiness(
        status="ready" if all_work else "not_ready",
        checks={name: "ok" if each else "failed" for name, each in works.items()},
    )
    return json_response(answer, 200 if all_work else 503, {"Cache-Control": "no-store"})


@blueprint.get("/metrics")
@operation(
    "getMetrics",
    "Numbers for Prometheus",
    scope=PUBLIC,
    description="Requests, runs by state, tokens, time to first token, open streams, queue lengths. Where the operator "
    "has set `PALAVER_METRICS_PUBLIC=false`, it wants a key with the scope `admin`.",
    answers={
        200: Answer(
            "Prometheus's text format",
            {"type": "string"},
            example="# HELP palaver_runs_active Replies being made now.\n"
            "# TYPE palaver_runs_active gauge\npalaver_runs_active 2.0\n",
            media_type="text/plain",
        )
    },
    errors={401: "Missing API key", 403: "Insufficient API key scope"},
    tag=TAG,
)
async def metrics() -> Response:
    if not service(OpsPolicy).metrics_public:
        await authorize(request.headers, request.args, Scope.ADMIN)
    return Response(service(Metrics).render(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
