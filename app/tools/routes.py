"""`GET /api/v1/tools`."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.auth.scopes import Scope
from app.edge.operation import Answer, Param, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example, example_of
from app.edge.services import service
from app.profiles.service import ProfileService
from app.tools.catalog import ToolCatalog
from app.tools.models import matches

blueprint = Blueprint("tools", __name__)


class ToolItem(msgspec.Struct):
    """A tool that models can call."""

    name: Annotated[str, example("now")]
    description: Annotated[str, example("Tells the present date, weekday and time.")]
    server: Annotated[str | None, Meta(description="Its MCP server; null for Palaver's own."), example(None)]
    parameters: Annotated[
        Mapping[str, Any],
        Meta(description="The JSON Schema of its arguments."),
        example({"type": "object", "properties": {}}),
    ]


class ToolList(msgspec.Struct):
    tools: Annotated[list[ToolItem], Meta(description="The tools."), example([example_of(ToolItem)])]


@blueprint.get("/api/v1/tools")
@operation(
    "listTools",
    "List the tools",
    scope=Scope.CHAT,
    description="All tools that there are now, or with `config_id` those that the profile's replies may use.",
    params=[Param("config_id", "Only the tools that this profile's `[tools]` table admits.", {"type": "string"})],
    answers={200: Answer("The tools", ToolList, envelope="ApiResponseToolList")},
    errors={400: refusal("config_id not found: poet", "config_not_found")},
)
async def list_tools() -> Response:
    specs = [tool.spec for tool in service(ToolCatalog).tools]
    if config_id := request.args.get("config_id"):
        patterns = service(ProfileService).get(config_id).tools.use
        specs = [spec for spec in specs if matches(spec.name, patterns)]
    return ok(ToolList([ToolItem(spec.name, spec.description, spec.server, spec.parameters) for spec in specs]))
