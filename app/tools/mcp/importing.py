"""MCP servers in the configuration files of other programs, as TOML tables for Palaver's own.

They have an object `mcpServers` (VS Code calls it `servers`, nanobot has it under `tools`) of servers by name, whose
members have many names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from app.tools.mcp.models import Transport

MAX_NAME_CHARS = 32
_HTTP_TYPES = frozenset(("http", "streamable_http", "streamablehttp", "streamable"))
_CONNECT_KEYS = ("connect_timeout_seconds", "initTimeout", "init_timeout")
_CALL_KEYS = ("call_timeout_seconds", "toolTimeout", "tool_timeout", "session_read_timeout")
_TOOL_KEYS = ("tools", "enabledTools", "enabled_tools")


class Imported(NamedTuple):
    """A server as the values of a `[[mcp_servers]]` table, or the reason why there is none."""

    name: str
    values: Mapping[str, Any]
    problem: str | None = None


def read_servers(content: bytes) -> list[Imported]:
    """Read the servers of a JSON file. Raises ValueError when there are none."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    servers = _find_servers(document)
    if not servers:
        raise ValueError("it has no mcpServers")
    names: set[str] = set()
    results = []
    for key, entry in servers.items():
        name = _unique(re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-")[:MAX_NAME_CHARS] or "server", names)
        names.add(name)
        results.append(_convert(name, entry))
    return results


def to_toml(values: Mapping[str, Any]) -> str:
    """Write a `[[mcp_servers]]` table."""
    return "\n".join(["[[mcp_servers]]", *(f"{key} = {_toml(value)}" for key, value in values.items())]) + "\n"


def _find_servers(document: Any) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        return {}
    for path in (("mcpServers",), ("tools", "mcpServers"), ("tools", "mcp_servers"), ("mcp", "servers"), ("servers",)):
        value: Any = document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            return value
    entries = document.values()
    is_bare = all(isinstance(entry, dict) and ("command" in entry or "url" in entry) for entry in entries)
    return document if is_bare else {}


def _convert(name: str, entry: Any) -> Imported:
    if not isinstance(entry, dict):
        return Imported(name, {}, "it is not an object")
    url = entry.get("url") or entry.get("serverUrl") or entry.get("httpUrl")
    kind = str(entry.get("transport") or entry.get("type") or "").lower().replace("-", "_")
    values: dict[str, Any] = {"name": name}
    if url:
        if kind == "sse" or kind not in {"", *_HTTP_TYPES}:
            return Imported(name, {}, f"its transport {kind} is not supported; its server may have /mcp beside /sse")
        values |= {"transport": Transport.STREAMABLE_HTTP.value, "url": url, "headers": _texts(entry.get("headers"))}
    elif entry.get("command"):
        values |= {
            "transport": Transport.STDIO.value,
            "command": entry["command"],
            "args": [str(argument) for argument in entry.get("args") or ()],
            "env": _texts(entry.get("env")),
            "cwd": entry.get("cwd"),
        }
    else:
        return Imported(name, {}, "it has neither command nor url")
    values["connect_timeout_seconds"] = _number(entry, _CONNECT_KEYS)
    values["call_timeout_seconds"] = _number(entry, _CALL_KEYS)
    values["tools"] = next((entry[key] for key in _TOOL_KEYS if isinstance(entry.get(key), list)), None)
    if entry.get("active") is False or entry.get("enabled") is False or entry.get("disabled") is True:
        values["enabled"] = False
    is_set = {key: value for key, value in values.items() if value is not None and value != {}}
    return Imported(name, {key: value for key, value in is_set.items() if key == "tools" or value != []})


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()} if isinstance(value, dict) else {}


def _number(entry: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    values: Iterator[Any] = (entry[key] for key in keys if key in entry)
    return next((value for value in values if isinstance(value, int | float) and value > 0), None)


def _unique(name: str, names: set[str]) -> str:
    number, result = 2, name
    while result in names:
        suffix = f"-{number}"
        result = name[: MAX_NAME_CHARS - len(suffix)] + suffix
        number += 1
    return result


def _toml(value: Any) -> str:
    """Write a value; texts as JSON writes them, which TOML reads alike but for DEL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
