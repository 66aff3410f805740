"""MCP servers on the wire."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from app.edge.schemas import example, example_of
from app.egress import parse_url
from app.errors import BadRequest
from app.tools.mcp.models import NAME_PATTERN, ServerSpec, ServerState, Transport
from app.written import NO_HEADER_TEXT, is_header_text

MAX_CONNECT_SECONDS = 300
MAX_CALL_SECONDS = 3600
MAX_HEADERS = 50
MAX_HEADER_CHARS = 8 * 1024
MAX_PATTERNS = 200
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_CONNECTIONS_OWN = frozenset(("connection", "content-length", "host", "transfer-encoding"))


class McpServerItem(msgspec.Struct, kw_only=True):
    """An MCP server, without its secrets."""

    name: Annotated[str, example("weather")]
    transport: Annotated[Transport, Meta(description="How it is reached."), example("streamable_http")]
    source: Annotated[
        str, Meta(description="`settings` or `api`: only the latter can be changed over HTTP."), example("api")
    ]
    url: Annotated[
        str | None,
        Meta(description="Its URL without the query, which may be secret; null for stdio."),
        example("https://mcp.example.com/mcp"),
    ]
    state: Annotated[ServerState, Meta(description="What its connection is like now."), example("connected")]
    error: Annotated[str | None, Meta(description="Why it failed, or was lost."), example(None)]
    tools: Annotated[
        list[str],
        Meta(description="The names of its tools, as models see them; none unless it is connected."),
        example(["weather_forecast"]),
    ]


class McpServerList(msgspec.Struct):
    servers: Annotated[
        list[McpServerItem],
        Meta(description="The servers; those of the settings come first."),
        example([example_of(McpServerItem)]),
    ]


class PutMcpServerRequest(msgspec.Struct, kw_only=True):
    """An MCP server by Streamable HTTP. What is left out has its default: nothing stays of what was there before."""

    url: Annotated[str, Meta(max_length=2048, description="Its endpoint.")]
    headers: Annotated[dict[str, str], Meta(description="Sent with each request; kept encrypted, never shown.")] = {}
    connect_timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_CONNECT_SECONDS, description="Time to connect.")] = 10.0
    call_timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_CALL_SECONDS, description="Time for one call.")] = 60.0
    tools: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        Meta(max_length=MAX_PATTERNS, description="The tools to offer: names or patterns."),
    ] = msgspec.field(default_factory=lambda: ["*"])
    enabled: Annotated[bool, Meta(description="Whether Palaver connects to it.")] = True


def spec_of(name: str, body: PutMcpServerRequest, *, allow_private: bool) -> ServerSpec:
    """Return the server of a request. Raises BadRequest."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadRequest("name must be 1 to 32 letters, digits, _ or -", code="invalid_mcp_server")
    try:
        parse_url(body.url, allow_private=allow_private)
    except ValueError as error:
        raise BadRequest(f"url {error}", code="invalid_mcp_server") from None
    if len(body.headers) > MAX_HEADERS or sum(map(len, [*body.headers, *body.headers.values()])) > MAX_HEADER_CHARS:
        raise BadRequest(f"headers must be at most {MAX_HEADERS}, of 8 KB together", code="invalid_mcp_server")
    for header, value in body.headers.items():
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _CONNECTIONS_OWN:
            raise BadRequest("headers has a name that cannot be sent", code="invalid_mcp_server")
        if not is_header_text(value):
            raise BadRequest(f"headers: {header} {NO_HEADER_TEXT}", code="invalid_mcp_server")
    return ServerSpec(
        name=name,
        transport=Transport.STREAMABLE_HTTP,
        url=body.url,
        headers=body.headers,
        connect_timeout_seconds=body.connect_timeout_seconds,
        call_timeout_seconds=body.call_timeout_seconds,
        tools=tuple(body.tools),
        allow_private=allow_private,
        enabled=body.enabled,
    )
