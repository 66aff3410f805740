"""MCP servers in the database: functions of a connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql

from app.errors import BadRequest, NotFound
from app.tools.mcp.models import ServerRow

MAX_SERVERS = 50


def list_servers(connection: Connection) -> list[tuple[str, dict[str, Any], bytes]]:
    """List the name, config and secrets of all servers by name."""
    rows = connection.execute(select(ServerRow).order_by(ServerRow.name))
    return [(row.name, row.config, row.secrets) for row in rows]


def put_server(connection: Connection, name: str, config: Mapping[str, Any], secrets: bytes, now: datetime) -> None:
    """Add a server, or replace it. Raises BadRequest for one more than MAX_SERVERS."""
    exists = connection.scalar(select(ServerRow.name).where(ServerRow.name == name)) is not None
    if not exists and (connection.scalar(select(func.count()).select_from(ServerRow)) or 0) >= MAX_SERVERS:
        raise BadRequest(f"There are {MAX_SERVERS} MCP servers already", code="too_many_mcp_servers")
    values = {"config": dict(config), "secrets": secrets, "updated_at": now}
    statement = postgresql.insert(ServerRow).values(name=name, created_at=now, **values)  # SQLite's is the same
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def delete_server(connection: Connection, name: str) -> None:
    """Raises NotFound."""
    if not connection.execute(delete(ServerRow).where(ServerRow.name == name)).rowcount:
        raise NotFound("MCP server not found", code="mcp_server_not_found")
