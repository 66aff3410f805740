"""Liveness, readiness and metrics."""

from dataclasses import dataclass
from functools import partial

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Response, request

from app.auth.guards import authorize
from app.auth.scopes import Scope
from app.edge.operation import PUBLIC, Answer, operation, refusal
from app.edge.responses import json_response
from app.edge.schemas import example_of
from app.edge.services import service
from app.ops.readiness import ReadyChecks
from app.ops.schemas import Health, Readiness
from app.telemetry.metrics import Metrics

blueprint = Blueprint("health", __name__)
ops_operation = partial(operation, scope=PUBLIC, tag="Operation")

_METRICS = (
    "# HELP palaver_runs_active Replies being made now.\n# TYPE palaver_runs_active gauge\npalaver_runs_active 2.0\n"
)


@dataclass(frozen=True, slots=True)
class OpsPolicy:
    """The readers of the metrics: everyone, or keys with the scope `admin`."""

    metrics_public: bool = True


@blueprint.get("/health")
@ops_operation(
    "getHealth",
    "Is the process alive?",
    description="Answers as long as the process does; `/ready` asks its parts as well.",
    answers={200: Answer("It is", Health)},
)
async def health() -> Response:
    return json_response(Health())


@blueprint.get("/ready")
@ops_operation(
    "getReadiness",
    "Can the server do its work?",
    description="Asks the database and the storage, and waits two seconds for them at most.",
    answers={
        200: Answer("It can", Readiness),
        503: Answer(
            "It cannot",
            Readiness,
            example_of(Readiness, status="not_ready", checks={"database": "ok", "storage": "failed"}),
        ),
    },
)
async def ready() -> Response:
    results = await service(ReadyChecks).run()
    all_work = all(results.values())
    answer = Readiness(
        status="ready" if all_work else "not_ready",
        checks={name: "ok" if works else "failed" for name, works in results.items()},
    )
    return json_response(answer, 200 if all_work else 503, {"Cache-Control": "no-store"})


@blueprint.get("/metrics")
@ops_operation(
    "getMetrics",
    "Numbers for Prometheus",
    description="Requests, runs by state, tokens, time to first token, open streams, queue lengths. Where the operator "
    "has set `PALAVER_METRICS_PUBLIC=false`, it wants a key with the scope `admin`.",
    answers={200: Answer("Prometheus's text format", {"type": "string"}, _METRICS, media_type="text/plain")},
    errors={
        401: refusal("Missing API key", "missing_api_key", "invalid_api_key"),
        403: refusal("Insufficient API key scope", "insufficient_scope", "origin_not_allowed"),
    },
)
async def metrics() -> Response:
    if not service(OpsPolicy).metrics_public:
        await authorize(request.headers, request.args, Scope.ADMIN)
    return Response(service(Metrics).render(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
