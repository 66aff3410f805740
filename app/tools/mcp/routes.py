"""`/api/v1/mcp/servers`."""

from functools import partial

from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.auth.trail import audited
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import shape_of
from app.edge.services import service
from app.tools.mcp.models import NAME_PATTERN
from app.tools.mcp.schemas import McpServerItem, McpServerList, PutMcpServerRequest, spec_of
from app.tools.mcp.service import McpServers

blueprint = Blueprint("mcp", __name__)
mcp_operation = partial(operation, scope=Scope.ADMIN, tag="Management")

_NAME = Param("name", "The server's name.", {"type": "string", "pattern": NAME_PATTERN}, where="path")
_SERVER = Answer("The server", McpServerItem, envelope="ApiResponseMcpServer")
_BOUND = {403: refusal("The API key is bound to a username", "username_not_allowed")}
_NOT_FOUND = {404: refusal("MCP server not found", "mcp_server_not_found")}
_CONFIGURED = {409: refusal("The MCP server is one of the settings", "mcp_server_configured")}


@blueprint.get("/api/v1/mcp/servers")
@mcp_operation(
    "listMcpServers",
    "List the MCP servers",
    description="All MCP servers, those of the settings and those that were added here, with the state of their "
    "connections. They are everyone's: a key bound to a username sees none.",
    answers={200: Answer("The servers", McpServerList, envelope="ApiResponseMcpServerList")},
    errors=_BOUND,
)
async def list_servers() -> Response:
    caller().check_unbound()
    reports = await service(McpServers).reports()
    return ok(McpServerList([shape_of(McpServerItem, report) for report in reports]))


@blueprint.get("/api/v1/mcp/servers/<name>")
@mcp_operation(
    "getMcpServer",
    "Get an MCP server",
    description="One server, without its secrets.",
    params=[_NAME],
    answers={200: _SERVER},
    errors={**_BOUND, **_NOT_FOUND},
)
async def get_server(name: str) -> Response:
    caller().check_unbound()
    return ok(shape_of(McpServerItem, await service(McpServers).get(name)))


@blueprint.put("/api/v1/mcp/servers/<name>")
@mcp_operation(
    "putMcpServer",
    "Add or replace an MCP server",
    description="Connects to the server in the background; its tools are there once `state` is `connected`. Only "
    "servers with a public URL can be added here: those that run as commands are in the settings.",
    params=[_NAME],
    body=Body(
        PutMcpServerRequest,
        {"weather": {"url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer the-servers-token"}}},
    ),
    answers={200: _SERVER},
    errors={
        400: refusal("url must not name a private address", "invalid_mcp_server", "too_many_mcp_servers"),
        **_BOUND,
        **_CONFIGURED,
    },
)
@audited("mcp_server.put")
async def put_server(name: str) -> Response:
    caller().check_unbound()
    servers = service(McpServers)
    spec = spec_of(name, convert(await json_object(), PutMcpServerRequest), allow_private=servers.allow_private)
    return ok(shape_of(McpServerItem, await servers.put(spec)))


@blueprint.delete("/api/v1/mcp/servers/<name>")
@mcp_operation(
    "deleteMcpServer",
    "Delete an MCP server",
    description="Deletes a server that was added over HTTP, and its secrets.",
    params=[_NAME],
    answers={200: empty("It is gone")},
    errors={**_BOUND, **_NOT_FOUND, **_CONFIGURED},
)
@audited("mcp_server.deleted")
async def delete_server(name: str) -> Response:
    caller().check_unbound()
    await service(McpServers).delete(name)
    return ok({})


@blueprint.post("/api/v1/mcp/servers/<name>/test")
@mcp_operation(
    "testMcpServer",
    "Test an MCP server",
    description="Asks the server for its tools now, and connects first if need be; answers within the server's "
    "`connect_timeout_seconds`.",
    params=[_NAME],
    answers={200: _SERVER},
    errors={**_BOUND, **_NOT_FOUND},
)
async def check_server(name: str) -> Response:
    caller().check_unbound()
    return ok(shape_of(McpServerItem, await service(McpServers).test(name)))
