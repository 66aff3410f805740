"""Liveness, readiness and metrics."""

from dataclasses import dataclass

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Response, request

from app.auth.guards import authorize
from app.auth.scopes import Scope
from app.edge.operation import PUBLIC, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.ops import examples
from app.ops.readiness import ReadyChecks
from app.ops.schemas import Health, Readiness
from app.telemetry.metrics import Metrics

TAG = "Operation"

blueprint = Blueprint("health", __name__)


@dataclass(frozen=True, slots=True)
class OpsPolicy:
    """The readers of the metrics: everyone, or keys with the scope `admin`."""

    metrics_public: bool = True


@blueprint.get("/health")
@operation(
    "getHealth",
    "Is the process alive?",
    scope=PUBLIC,
    description="Answers as long as the process does; `/ready` asks its parts as well.",
    answers=examples.HEALTH,
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
    answers=examples.READY,
    tag=TAG,
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
@operation(
    "getMetrics",
    "Numbers for Prometheus",
    scope=PUBLIC,
    description="Requests, runs by state, tokens, time to first token, open streams, queue lengths. Where the operator "
    "has set `PALAVER_METRICS_PUBLIC=false`, it wants a key with the scope `admin`.",
    answers=examples.METRICS,
    errors=examples.METRICS_ERRORS,
    tag=TAG,
)
async def metrics() -> Response:
    if not service(OpsPolicy).metrics_public:
        await authorize(request.headers, request.args, Scope.ADMIN)
    return Response(service(Metrics).render(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
