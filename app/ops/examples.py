"""Answers and examples of the operator's routes, for the published document."""

from app.edge.operation import Answer, Param
from app.ops.publishing import OWN_ASSETS, SWAGGER_UI
from app.ops.schemas import Health, Info, Readiness

_INFO = {
    "name": "Palaver",
    "message": "Palaver Open API",
    "version": "0.1.0",
    "description": "A self-hosted Open API for chat bots: one dependable door to LLM conversations.",
    "authentication": "Bearer Token (API Key), or the same key in the header X-API-Key",
    "endpoints": {"/health": "GET - Is the process alive?"},
}
_READY = {"status": "ready", "checks": {"database": "ok", "storage": "ok"}}
_NOT_READY = {"status": "not_ready", "checks": {"database": "ok", "storage": "failed"}}
_METRICS = (
    "# HELP palaver_runs_active Replies being made now.\n# TYPE palaver_runs_active gauge\npalaver_runs_active 2.0\n"
)

HEALTH = {200: Answer("It is", Health, example={"status": "healthy"})}
READY = {
    200: Answer("It can", Readiness, example=_READY),
    503: Answer("It cannot", Readiness, example=_NOT_READY),
}
METRICS = {200: Answer("Prometheus's text format", {"type": "string"}, example=_METRICS, media_type="text/plain")}
METRICS_ERRORS = {401: "Missing API key", 403: "Insufficient API key scope"}

INFO = {200: Answer("This", Info, example=_INFO)}
DOCUMENT = {
    200: Answer(
        "OpenAPI 3.1",
        {"type": "object", "required": ["openapi", "info", "paths"]},
        example={"openapi": "3.1.0", "info": {"title": "Palaver Open API", "version": "0.1.0"}, "paths": {}},
        headers={"ETag": "Its version, for `If-None-Match`."},
    ),
    304: Answer("It has not changed", headers={"ETag": "Its version."}),
}
PAGE = {200: Answer("The page", {"type": "string"}, example="<!doctype html>...", media_type="text/html")}
FILE = Param("file", "The file's name.", {"type": "string", "enum": [*SWAGGER_UI, *OWN_ASSETS]}, where="path")
ASSET = {200: Answer("The file", {"type": "string", "format": "binary"}, media_type="*/*")}
ASSET_ERRORS = {404: "No such path"}
