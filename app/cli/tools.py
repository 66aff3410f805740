"""`palaver tools` and `palaver mcp`."""

import asyncio
import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.errors import Refusal, refusing
from app.cli.folder import data_dir_option, prepare, upgrade
from app.settings import Settings, load_settings, settings_file
from app.written import decode_utf8

if TYPE_CHECKING:
    from app.tools.mcp.models import ServerReport
    from app.tools.models import Tool

MAX_DESCRIPTION_CHARS = 80


@click.group()
def tools() -> None:
    """List the tools that models can call."""


@tools.command("list")
@data_dir_option
def list_tools(data_dir: Path | None) -> None:
    """List Palaver's own tools and those of the MCP servers, which are connected to for it."""
    settings = load_settings(data_dir=data_dir)
    prepare(settings)
    upgrade(settings)
    own, reports = asyncio.run(_read_tools(settings))
    rows = [("NAME", "SERVER", "WHAT IT DOES"), *((tool.spec.name, _server(tool), _summary(tool)) for tool in own)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, server, summary in rows:
        click.echo(f"{name.ljust(widths[0])}  {server.ljust(widths[1])}  {summary}")
    for report in reports:
        if report.error is not None:
            click.echo(f"MCP server {report.name} is {report.state.value}: {report.error}", err=True)


async def _read_tools(settings: Settings) -> "tuple[list[Tool], list[ServerReport]]":
    """Connect to all servers, once; returns the tools, and what the servers are like."""
    from app.bootstrap import create_app
    from app.edge.services import service
    from app.telemetry.logs import configure_logging
    from app.tools.catalog import ToolCatalog
    from app.tools.mcp.service import McpServers

    configure_logging("error", "console", secrets=settings.secret_texts())
    with refusing("Cannot use the data folder"):
        app = create_app(settings)
    async with app.app_context():
        catalog, servers = service(ToolCatalog), service(McpServers)
        try:
            await servers.settle()
            return list(catalog.tools), await servers.reports()
        finally:
            await servers.close()


def _server(tool: "Tool") -> str:
    return tool.spec.server or "-"


def _summary(tool: "Tool") -> str:
    text = " ".join(tool.spec.description.split())
    return text if len(text) <= MAX_DESCRIPTION_CHARS else f"{text[: MAX_DESCRIPTION_CHARS - 3]}..."


@click.group()
def mcp() -> None:
    """Take over MCP servers from other programs."""


@mcp.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the tables, with all secrets, and change nothing.")
@data_dir_option
def import_servers(file: Path, dry_run: bool, data_dir: Path | None) -> None:
    """Add the `mcpServers` of a JSON file (AstrBot, nanobot, Claude Desktop) to palaver.toml."""
    from app.tools.mcp.importing import read_servers, to_toml

    settings = load_settings(data_dir=data_dir)
    with refusing(f"Cannot read {file}"):
        servers = read_servers(decode_utf8(file.read_bytes()).encode())
    present = {server.name for server in settings.mcp_servers}
    tables = []
    for server in servers:
        problem = server.problem or ("palaver.toml has it already" if server.name in present else None)
        if problem is None:
            problem = _problem_of(settings, server.values)
        if problem is not None:
            click.echo(f"{server.name} is left out: {problem}", err=True)
            continue
        if any("${" in text for text in _texts_in(server.values)):
            click.echo(f"{server.name}: ${{...}} is not replaced; write the value itself", err=True)
        tables.append((server.name, to_toml(server.values)))
    if dry_run:
        click.echo("\n".join(table for _, table in tables), nl=False)
    elif tables:
        target = settings_file(data_dir)
        _append(target, "\n".join(table for _, table in tables))
        click.echo(f"{target} has {', '.join(name for name, _ in tables)}; restart Palaver to connect", err=True)
    if len(tables) < len(servers):
        raise SystemExit(1)


def _problem_of(settings: Settings, values: Any) -> str | None:
    """Say why the settings would refuse the values of a server."""
    from pydantic import ValidationError

    from app.settings import McpServerSettings

    try:
        McpServerSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        return f"{place}: {problem['msg']}".removeprefix(": ").replace("Value error, ", "")
    return None


def _texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts_in(each)]
    return [value] if isinstance(value, str) else []


def _append(file: Path, tables: str) -> None:
    """Append the tables in one step, to a file that stays as it is unless the result can be read."""
    file = file.resolve()  # a link stays one
    try:
        before = decode_utf8(file.read_bytes()) if file.exists() else ""
        text = f"{before.rstrip()}\n\n{tables}" if before.strip() else tables
        tomllib.loads(text)
        file.parent.mkdir(parents=True, exist_ok=True)
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
        descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as output:
                output.write(text)
                output.flush()
                os.fsync(output.fileno())
            Path(draft).chmod(mode)
            Path(draft).replace(file)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise Refusal(f"Cannot add to {file}: {error}; use --dry-run, and add the tables yourself") from error
