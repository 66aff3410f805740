"""What is measured: Palaver's doors, the model server itself, and the peers; how each is asked for a reply."""

import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Job
from bench.processes import ROOT, START_SECONDS, ServerProcess, free_port, serving

API_KEY = "operator-key-of-the-benchmark"
LITELLM_KEY = f"sk-{secrets.token_hex(32)}"  # it does not start with a weak one
PALAVER = (sys.executable, "-c", "from app.cli import main; main()")
PEERS = ROOT / "bench" / ".peers"
LITELLM = PEERS / "litellm" / "bin" / "litellm"
PORTKEY = PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
OPENAI_PATH = "/v1/chat/completions"
NGINX = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
NO_NGINX = "nginx is not installed"
NO_PEER = "not run in a smoke test, or not installed (make bench-peers)"


@dataclass(frozen=True, slots=True)
class Door:
    """How to ask for a reply. `load` is how many requests, about, are answered in two seconds on one slow core."""

    name: str
    path: str
    marker: str
    expect: str
    load: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, model: str, number: int) -> dict[str, Any]:
        return {
            "model": model,
            "messages": [{"role": "user", "content": "Hello, how are you?"}],
            "stream": True,
            "store": False,
        }

    def job(self, server: ServerProcess, model: str, requests: int, clients: int, *, first: int = 0) -> Job:
        """A job of that many requests, which are numbered from `first` on."""
        texts = [post(self.path, self.headers, self.body(model, number)) for number in range(first, first + requests)]
        tokens = int(model.partition("-")[0].removeprefix("t"))
        return Job(server.host, server.port, clients, texts, self.marker, self.expect, tokens=tokens)


@dataclass(frozen=True, slots=True)
class ChatDoor(Door):
    """`POST /api/v1/chat`; each request is the first message of a session of its own."""

    def body(self, model: str, number: int) -> dict[str, Any]:
        return {
            "username": "bench",
            "session_id": f"session-{number}",
            "message": "Hello, how are you?",
            "selected_model": model,
        }


def _openai_door(name: str, load: int, headers: Mapping[str, str] | None = None) -> Door:
    return Door(name, OPENAI_PATH, '"content":', "data: [DONE]", load, headers or {})


MODEL = _openai_door("model server", 4000)
CHAT = ChatDoor("Palaver /api/v1/chat", "/api/v1/chat", '"plain"', '"complete"', 320, {"X-API-Key": API_KEY})
OPENAI = _openai_door("Palaver /v1, stateless", 400, {"X-API-Key": API_KEY})
LITELLM_DOOR = _openai_door("LiteLLM", 48, {"Authorization": f"Bearer {LITELLM_KEY}"})


def portkey_door(model: ServerProcess) -> Door:
    """Portkey is told with each request where the model server is."""
    headers = {
        "Authorization": "Bearer none",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://{model.host}:{model.port}/v1",
    }
    return _openai_door("Portkey", 1000, headers)


def post(path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """A whole request."""
    text = json.dumps(body, separators=(",", ":"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    )


def get(path: str, headers: Mapping[str, str]) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"


def palaver_command(data_dir: Path, port: int, program: Sequence[str] = PALAVER) -> tuple[str, ...]:
    return (*program, "serve", "--data-dir", str(data_dir), "--port", str(port))


def palaver_environment(**settings: str) -> dict[str, str]:
    return {"PALAVER_API_KEYS": f"bench={API_KEY}", **settings}


def write_provider(data_dir: Path, model: ServerProcess, tables: str = "") -> None:
    """Let the Palaver of that data folder ask the scripted model server."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "palaver.toml").write_text(
        f'[[providers]]\nid = "bench"\nbase_url = "http://{model.host}:{model.port}/v1"\n'
        'api_key = "none"\nmax_retries = 0\n' + tables
    )


@asynccontextmanager
async def palaver(
    data_dir: Path,
    model: ServerProcess,
    *,
    program: Sequence[str] = PALAVER,
    start_seconds: float = START_SECONDS,
    tables: str = "",
    **settings: str,
) -> AsyncIterator[ServerProcess]:
    """`palaver serve`, with its default settings but for those given, logs included.

    `program` is the `palaver`; `tables` are added to its palaver.toml.
    """
    write_provider(data_dir, model, tables)
    port = free_port()
    environment = palaver_environment(**settings)
    log_file = data_dir.with_name(f"{data_dir.name}.log")
    command = palaver_command(data_dir, port, program)
    async with serving(command, port, log_file, environment, start_seconds=start_seconds) as server:
        yield server


@asynccontextmanager
async def litellm(folder: Path, model: ServerProcess) -> AsyncIterator[ServerProcess]:
    """LiteLLM's proxy with one worker and no database."""
    port = free_port()
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"http://{model.host}:{model.port}/v1",
                "api_key": "none",
            },
        }
        for name in ("t64", "t2000")
    ]
    config = folder / "litellm.json"
    config.write_text(json.dumps({"model_list": models}))  # JSON is YAML
    command = (LITELLM, "--config", config, "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1")
    environment = {
        "LITELLM_MASTER_KEY": LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    async with serving(command, port, folder / "litellm.log", environment) as server:
        yield server


@asynccontextmanager
async def portkey(folder: Path, _model: ServerProcess) -> AsyncIterator[ServerProcess]:
    """Portkey's gateway on Node."""
    port = free_port()
    node = shutil.which("node")
    assert node is not None
    environment = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    command = (node, "--import", ROOT / "bench" / "portkey_headers.mjs", PORTKEY, f"--port={port}", "--headless")
    async with serving(command, port, folder / "portkey.log", environment) as server:
        yield server


@asynccontextmanager
async def nginx(folder: Path, server: ServerProcess) -> AsyncIterator[ServerProcess | None]:
    """nginx before the server, which passes bodies on as they come; None where it is not installed."""
    if NGINX is None:
        yield None
        return
    port, place = free_port(), folder / "nginx"
    place.mkdir()
    config = place / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n"
        f"fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; client_max_body_size 0;\n"
        f"proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off; proxy_read_timeout 120s;\n"
        f"location / {{ proxy_pass http://{server.host}:{server.port}; }}\n"
        # As the README says: nginx passes on what one buffer holds, which are 4 KB of an answer unless it is told more.
        f"location /api/v1/file {{ proxy_pass http://{server.host}:{server.port};\n"
        "client_body_buffer_size 256k; proxy_buffer_size 256k; proxy_buffers 4 256k; } } }\n"
    )
    async with serving((NGINX, "-c", config, "-p", place), port, folder / "nginx.log") as proxy:
        yield proxy


def litellm_is_there() -> bool:
    return LITELLM.exists()


def portkey_is_there() -> bool:
    return PORTKEY.exists() and shutil.which("node") is not None
