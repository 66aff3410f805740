"""MCP servers in palaver.toml and at the command line."""

import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.settings import WrongSettings, load_settings
from tests.support.mcp_servers import answering, scripted, tool
from tests.support.processes import palaver
from tests.support.programs import ROOT

FILES: dict[str, Any] = {
    "Claude Desktop": {"mcpServers": {"my files": {"command": "npx", "args": ["-y", "x"], "env": {"A": 'b"\\ü'}}}},
    "AstrBot": {
        "mcpServers": {
            "remote": {
                "transport": "streamable_http",
                "url": "https://mcp.example.com/mcp",
                "headers": {"Authorization": "Bearer t"},
                "session_read_timeout": 90,
                "active": False,
            }
        }
    },
    "nanobot": {
        "tools": {
            "mcpServers": {
                "fs": {
                    "type": "stdio",
                    "command": "uvx",
                    "args": ["fs"],
                    "toolTimeout": 45,
                    "enabledTools": ["read_*"],
                },
                "web": {"type": "streamableHttp", "url": "https://mcp.example.com/mcp", "enabledTools": []},
            }
        }
    },
}


@pytest.mark.parametrize("program", FILES)
async def test_servers_of_other_programs_are_imported(data_dir: Path, tmp_path: Path, program: str) -> None:
    data_dir.mkdir(mode=0o700)
    target = data_dir / "palaver.toml"
    target.write_text('log_level = "error"')
    target.chmod(0o640)
    source = tmp_path / "servers.json"
    source.write_text(json.dumps(FILES[program]))
    code, printed = await palaver("mcp", "import", str(source), data_dir=data_dir)
    assert code == 0, printed
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert tomllib.loads(target.read_text())["log_level"] == "error"
    by_name = {server.name: server for server in load_settings(data_dir=data_dir).mcp_servers}
    match program:
        case "Claude Desktop":
            server = by_name["my-files"]
            assert (server.command, server.args) == ("npx", ["-y", "x"])
            assert server.env["A"].get_secret_value() == 'b"\\ü'
        case "AstrBot":
            server = by_name["remote"]
            assert (server.url, server.call_timeout_seconds, server.enabled) == (
                "https://mcp.example.com/mcp",
                90,
                False,
            )
            assert "Bearer t" not in repr(server)
        case _:
            assert (by_name["fs"].tools, by_name["fs"].call_timeout_seconds) == (["read_*"], 45)
            assert by_name["web"].tools == []
    before = target.read_text()
    code, printed = await palaver("mcp", "import", str(source), data_dir=data_dir)
    assert code == 1
    assert "has it already" in printed
    assert target.read_text() == before


async def test_what_cannot_be_imported_is_named(data_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "servers.json"
    entries = {
        "old": {"type": "sse", "url": "https://mcp.example.com/sse"},
        "empty": {},
        "number": 5,
        "odd": {"url": "nonsense"},
        "good": {"command": "x", "env": {"T": "${TOKEN}"}},
    }
    source.write_text(json.dumps({"mcpServers": entries}))
    code, printed = await palaver("mcp", "import", str(source), "--dry-run", data_dir=data_dir)
    assert code == 1
    assert not (data_dir / "palaver.toml").exists()
    for name in ("old", "empty", "number", "odd"):
        assert f"{name} is left out" in printed
    assert "${...} is not replaced" in printed
    assert 'name = "good"' in printed


@pytest.mark.parametrize("content", ["", "{oops", "[]", '{"mcpServers": {}}', '"\\ud800"'])
async def test_a_file_without_servers_is_refused(data_dir: Path, tmp_path: Path, content: str) -> None:
    source = tmp_path / "servers.json"
    source.write_text(content)
    code, printed = await palaver("mcp", "import", str(source), data_dir=data_dir)
    assert code == 1
    assert printed.startswith("Error: ")
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('name = "x"', "either command or url"),
        ('name = "x"\ncommand = "a"\nurl = "https://b"', "either command or url"),
        ('name = "x y"\ncommand = "a"', "mcp_servers.0.name"),
        ('name = "x"\ncommand = "a"\ntransport = "streamable_http"', "does not fit command"),
        ('name = "x"\nurl = "mcp.example.com"', "not a URL"),
        ('name = "x"\ncomand = "a"', "did you mean command"),
        ('name = "x"\ncommand = "a"\n[[mcp_servers]]\nname = "x"\ncommand = "b"', "same name"),
    ],
)
def test_wrong_tables_are_refused(data_dir: Path, table: str, words: str) -> None:
    data_dir.mkdir()
    (data_dir / "palaver.toml").write_text(f"[[mcp_servers]]\n{table}\n")
    with pytest.raises(WrongSettings, match=words):
        load_settings(data_dir=data_dir)


def test_secrets_of_servers_are_secrets_of_the_settings(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "palaver.toml").write_text(
        '[[mcp_servers]]\nname = "a"\ncommand = "x"\nenv = {K = "env-secret"}\n'
        '[[mcp_servers]]\nname = "b"\nurl = "https://mcp.example.com/mcp?k=url-secret"\nheaders = {A = "head-secret"}\n'
    )
    settings = load_settings(data_dir=data_dir)
    assert {"env-secret", "k=url-secret", "head-secret"} <= set(settings.secret_texts())
    assert "env-secret" not in repr(settings)
    assert "head-secret" not in repr(settings)


async def test_the_command_line_lists_tools(data_dir: Path) -> None:
    data_dir.mkdir()
    async with scripted(answering({"tools/list": {"tools": [tool("it")]}})) as mcp:
        (data_dir / "palaver.toml").write_text(
            f'[[mcp_servers]]\nname = "odd"\nurl = "{mcp.url}"\nallow_private = true\n'
            '[[mcp_servers]]\nname = "away"\ncommand = "no-such-program"\n'
        )
        code, printed = await palaver("tools", "list", data_dir=data_dir)
    assert code == 0, printed
    lines = [line.split(None, 2) for line in printed.splitlines()]
    assert ["odd_it", "odd", "Does it."] in lines
    assert {"now", "search_knowledge", "fetch_page", "message"} <= {line[0] for line in lines}
    assert "MCP server away is failed" in printed


def test_without_servers_the_sdk_is_not_imported(data_dir: Path) -> None:
    script = f"""
import asyncio, sys
from app.bootstrap import create_app
from app.settings import load_settings
async def main():
    app = create_app(load_settings(data_dir={str(data_dir)!r}))
    async with app.test_app():
        await asyncio.sleep(0.2)
asyncio.run(main())
assert not {{"mcp", "mcp_types"}} & sys.modules.keys(), "imported"
"""
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
