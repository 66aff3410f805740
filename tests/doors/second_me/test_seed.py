"""The two examples in Second Me's document, as printed but for the address and, where there is one, the key."""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.doors.openai.conftest import shown
from tests.doors.openai.test_seeds import needs_curl, run
from tests.support import answers
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

CURL = """curl -X POST \\
'http://localhost:8002/api/kernel2/chat' \\
-H 'Content-Type: application/json' \\
-H 'Accept: text/event-stream' \\
-d '{
"messages": [
{"role": "system", "content": "You are a helpful assistant."},
{"role": "user", "content": "Tell me about artificial intelligence."}
],
"stream": true
}'"""
PYTHON = """
import json
import http.client
url = "localhost:8002"
path = "/api/kernel2/chat"
headers = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream"
}
data = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Tell me about artificial intelligence."}
    ],
    "stream": True
}
conn = http.client.HTTPConnection(url)
conn.request("POST", path, body=json.dumps(data), headers=headers)
response = conn.getresponse()
for line in response:
    if line:
        decoded_line = line.decode('utf-8').strip()
        if decoded_line == 'data: [DONE]':
            break
        if decoded_line.startswith('data: '):
            try:
                json_str = decoded_line[6:]
                chunk = json.loads(json_str)
                content = chunk['choices'][0]['delta'].get('content', '')
                if content:
                    print(content, end='', flush=True)
            except json.JSONDecodeError:
                pass
conn.close()
"""
ANSWER = "You said: Tell me about artificial intelligence."
SHOWN = [("system", "You are a helpful assistant."), ("user", "Tell me about artificial intelligence.")]
JSON_HEADER = "-H 'Content-Type: application/json'"


@pytest.fixture
async def keyless(start_server: StartServer) -> AsyncIterator[Server]:
    """Second Me is a local server without keys."""
    async with start_server(no_auth=True) as server:
        yield server


def here(example: str, server: Server) -> str:
    return example.replace("localhost:8002", f"localhost:{server.port}")


async def curl(command: str) -> list[dict[str, Any]]:
    """The chunks of the answer, which ends as it should."""
    out = await run("bash", "-c", command.replace("curl ", "curl -s --ipv4 ", 1))
    frames = [block for block in out.split("\n\n") if block and not block.startswith(":")]
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def said(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@needs_curl
async def test_curl_as_printed(keyless: Server, model: ModelServer) -> None:
    chunks = await curl(here(CURL, keyless))
    assert said(chunks) == ANSWER
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert shown(model) == SHOWN


@needs_curl
async def test_curl_with_a_key(server: Server, client: Client, model: ModelServer) -> None:
    command = here(CURL, server).replace(JSON_HEADER, f"{JSON_HEADER} -H 'Authorization: Bearer {client.key}'")
    assert said(await curl(command)) == ANSWER
    assert shown(model) == SHOWN


async def test_python_as_printed(keyless: Server, model: ModelServer) -> None:
    assert await run(sys.executable, "-c", here(PYTHON, keyless)) == ANSWER
    assert shown(model) == SHOWN


async def test_python_with_a_key(server: Server, client: Client) -> None:
    program = here(PYTHON, server).replace('"Accept":', f'"X-API-Key": "{client.key}", "Accept":')
    assert await run(sys.executable, "-c", program) == ANSWER


async def test_the_program_comes_to_the_end_whatever_the_model_server_does(keyless: Server, model: ModelServer) -> None:
    empty = answers.raw(
        b'data: {"id":"x","created":7,"choices":[],"prompt_filter_results":[]}\n\n'
        b'data: {"id":"x","created":7,"choices":[{"index":0,"delta":{"content":"A"}}]}\n\n'
        b'data: {"id":"x","created":7,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"x","created":7,"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
        b"data: [DONE]\n\n"
    )
    model.script(answers.cut_after(2), answers.reply(["A"], usage=(1, 0, 1)), empty)
    program = here(PYTHON, keyless)
    assert [await run(sys.executable, "-c", program) for _ in range(3)] == ["t0 t1 ", "A", "A"]
