"""The examples in the documents of nanobot and Lang Agent, as printed but for the address, the key and the model."""

import asyncio
import base64
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.doors.openai.conftest import shown
from tests.doors.openai.test_files import picture, sheet
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
async def keyless(start_server: StartServer) -> AsyncIterator[Server]:
    """nanobot is a local server without keys."""
    async with start_server(no_auth=True) as server:
        yield server


async def run(*command: str, folder: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def shell(text: str, folder: Path | None = None) -> Any:
    return json.loads(await run("bash", "-c", text.replace("curl ", "curl -s ", 1), folder=folder))


def said(completion: Any) -> str:
    return str(completion["choices"][0]["message"]["content"])


CURL = """curl http://127.0.0.1:8900/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "messages": [{"role": "user", "content": "hi"}],
    "session_id": "my-session"
  }'"""
CURL_FILES = """curl http://127.0.0.1:8900/v1/chat/completions \\
  -F "message=Compare these files" \\
  -F "files=@chart.png" \\
  -F "files=@data.xlsx" \\
  -F "session_id=my-session\""""
CURL_REPORT = """curl http://127.0.0.1:8900/v1/chat/completions \\
  -F "message=Summarize this report" \\
  -F "files=@report.docx\""""
CURL_IMAGE = """curl http://127.0.0.1:8900/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "text", "text": "Describe this image"},
      {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR..."}}
    ]}]
  }'"""
CURL_GROUP = """curl -X POST http://localhost:8900/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "x-session-key: wx:group:group_abc:user:user_alice" \\
  -d '{
    "model": "nanobot",
    "messages": [
      {"role": "user", "content": "Summarize our discussion"}
    ]
  }'"""
CURL_ALICE = """curl -X POST http://localhost:8900/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "x-session-key: wx:dm:user_alice" \\
  -d '{
    "model": "nanobot",
    "messages": [
      {"role": "user", "content": "Hello, who are you?"}
    ]
  }'"""
CURL_LANG_AGENT = """curl -X POST "http://localhost:8488/v1/chat/completions" \\
  -H "Authorization: Bearer 123tangledup-ai" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "qwen-plus",
    "messages": [
      {
        "role": "system",
        "content": "You are a helpful assistant."
      },
      {
        "role": "user",
        "content": "你是谁?"
      }
    ]
  }'"""
REQUESTS = """
import requests

resp = requests.post(
    "http://127.0.0.1:8900/v1/chat/completions",
    json={
        "messages": [{"role": "user", "content": "hi"}],
        "session_id": "my-session",  # optional: isolate conversation
    },
    timeout=120,
)
resp.raise_for_status()
print(resp.json()["choices"][0]["message"]["content"])
"""
OPENAI = """
from openai import OpenAI

client = OpenAI(
    base_url="http://127.0.0.1:8900/v1",
    api_key="dummy",
)

resp = client.chat.completions.create(
    model="MiniMax-M2.7",
    messages=[{"role": "user", "content": "hi"}],
    extra_body={"session_id": "my-session"},  # optional: isolate conversation
)
print(resp.choices[0].message.content)
"""


LANG_AGENT_REQUESTS = """
import requests

API_BASE_URL = "http://localhost:8488"
API_KEY = "123tangledup-ai"

headers = {
    "Authorization": f"Bearer {API_KEY}",
    "Content-Type": "application/json"
}

data = {
    "model": "qwen-plus",
    "messages": [
        {
            "role": "system",
            "content": "You are a helpful assistant."
        },
        {
            "role": "user",
            "content": "你是谁?"
        }
    ]
}

response = requests.post(f"{API_BASE_URL}/v1/chat/completions", headers=headers, json=data)
print(response.json())
"""
LANG_AGENT_OPENAI = """
from openai import OpenAI

client = OpenAI(
    api_key="123tangledup-ai",
    base_url="http://localhost:8488/v1"
)

response = client.chat.completions.create(
    model="qwen-plus",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "你是谁?"}
    ]
)

print(response.choices[0].message.content)
"""


@needs_curl
async def test_nanobots_curl(keyless: Server, model: ModelServer, tmp_path: Path) -> None:
    assert said(await shell(CURL.replace("http://127.0.0.1:8900", keyless.base_url))) == "You said: hi"
    (tmp_path / "chart.png").write_bytes(picture())
    (tmp_path / "data.xlsx").write_bytes(sheet(2))
    await shell(CURL_FILES.replace("http://127.0.0.1:8900", keyless.base_url), tmp_path)
    *_, (_, parts) = shown(model)
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    assert shown(model)[1] == ("user", "hi")


@needs_curl
async def test_nanobots_report_image_and_group(keyless: Server, model: ModelServer, tmp_path: Path) -> None:
    report = Path(__file__).parents[2] / "data" / "documents" / "libreoffice-report.docx"
    shutil.copy(report, tmp_path / "report.docx")
    await shell(CURL_REPORT.replace("http://127.0.0.1:8900", keyless.base_url), tmp_path)
    *_, (_, parts) = shown(model)
    assert "Summarize this report" in str(parts)
    assert "[file: report.docx]" in str(parts)
    image = base64.b64encode(picture()).decode()
    await shell(CURL_IMAGE.replace("http://127.0.0.1:8900", keyless.base_url).replace("iVBOR...", image))
    *_, (_, parts) = shown(model)
    assert [part["type"] for part in parts] == ["text", "image_url"]
    group = CURL_GROUP.replace("http://localhost:8900", keyless.base_url).replace("nanobot", "gpt-4.1-mini")
    assert said(await shell(group)) == "You said: Summarize our discussion"
    assert shown(model)[1:] == [("user", "Summarize our discussion")]


async def test_nanobots_python(keyless: Server) -> None:
    for example in (REQUESTS, OPENAI):
        code = example.replace("http://127.0.0.1:8900", keyless.base_url).replace("MiniMax-M2.7", "gpt-4.1-mini")
        assert await run(sys.executable, "-c", code) == "You said: hi\n"


@needs_curl
async def test_nanobots_session_keys(keyless: Server, model: ModelServer) -> None:
    example = CURL_ALICE.replace("http://localhost:8900", keyless.base_url).replace("nanobot", "gpt-4.1-mini")
    await shell(example)
    again = example.replace("Hello, who are you?", "What did I just ask you?")
    await shell(again)
    assert ("user", "Hello, who are you?") in shown(model)
    await shell(again.replace("wx:dm:user_alice", "wx:dm:user_bob"))
    assert shown(model)[1:] == [("user", "What did I just ask you?")]


@needs_curl
async def test_lang_agents_curl_with_its_fixed_key(start_server: StartServer, model: ModelServer) -> None:
    key = {"name": "old", "key": "123tangledup-ai"}
    async with start_server(api_keys=[key], allow_short_keys=True) as server:
        example = CURL_LANG_AGENT.replace("http://localhost:8488", server.base_url)
        assert said(await shell(example.replace("qwen-plus", "gpt-4.1-mini"))) == "You said: 你是谁?"
    assert shown(model) == [("system", "You are a helpful assistant."), ("user", "你是谁?")]


async def test_lang_agents_python(start_server: StartServer) -> None:
    key = {"name": "old", "key": "123tangledup-ai"}
    async with start_server(api_keys=[key], allow_short_keys=True) as server:
        for example in (LANG_AGENT_REQUESTS, LANG_AGENT_OPENAI):
            code = example.replace("http://localhost:8488", server.base_url).replace("qwen-plus", "gpt-4.1-mini")
            assert "You said: 你是谁?" in await run(sys.executable, "-c", code)


async def test_health_and_info(client: Client) -> None:
    assert (await client.get("/health")).json() == {"status": "healthy"}
    info = (await client.get("/")).json()
    assert {"message", "version", "description", "authentication", "endpoints"} <= info.keys()
    assert "/v1/chat/completions" in info["endpoints"]
