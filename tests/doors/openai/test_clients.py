"""Clients that others wrote: OpenAI's own for JavaScript, and, where they are installed, those that build on it.

`pytest -m clients tests/doors/openai` runs the latter with the Python that CLIENTS_PYTHON names (this one if unset), so
that what they pin need not fit what Palaver pins.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.server import Server

CLIENTS_PYTHON = os.environ.get("CLIENTS_PYTHON", sys.executable)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "palaver-tests/npm"
OPENAI_JS = "openai@6"

JAVASCRIPT = """
import OpenAI from "openai";
import assert from "node:assert";
const openai = new OpenAI({ baseURL: process.env.URL, apiKey: process.env.KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const model = "gpt-4.1-mini";
const whole = await openai.chat.completions.create({ model, messages, session_id: "js" });
assert.equal(whole.choices[0].message.content, "You said: hi");
assert.ok(whole.usage.total_tokens > 0);
let text = "", usage;
const stream_options = { include_usage: true };
for await (const chunk of await openai.chat.completions.create({ model, messages, stream: true, stream_options })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, "You said: hi");
assert.ok(usage.total_tokens > 0);
const runner = openai.chat.completions.stream({ model, messages });
assert.equal(await runner.finalContent(), "You said: hi");
await assert.rejects(openai.models.retrieve("nope"), OpenAI.NotFoundError);
const stranger = new OpenAI({ baseURL: process.env.URL, apiKey: "plv_wrong", maxRetries: 0 });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
console.log("good");
"""
LANGCHAIN = """
import os
from langchain_openai import ChatOpenAI
chat = ChatOpenAI(model="gpt-4.1-mini", base_url=os.environ["URL"], api_key=os.environ["KEY"], stream_usage=True)
whole = chat.invoke("hi")
assert whole.content == "You said: hi", whole
assert whole.usage_metadata["total_tokens"] > 0
assert "".join(chunk.content for chunk in chat.stream("hi")) == "You said: hi"
print("good")
"""
LITELLM = """
import os
import litellm
options = dict(model="openai/gpt-4.1-mini", api_base=os.environ["URL"], api_key=os.environ["KEY"])
messages = [{"role": "user", "content": "hi"}]
assert litellm.completion(messages=messages, **options).choices[0].message.content == "You said: hi"
stream = litellm.completion(messages=messages, stream=True, **options)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "You said: hi"
print("good")
"""


async def run(*command: str, server: Server, client: Client, folder: Path, **more: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "URL": f"{server.base_url}/v1",
        "KEY": client.key or "",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=env, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


def javascript_client() -> Path:
    """The folder where npm has installed the client, kept from one run to the next."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    if not (CACHE / "node_modules/openai").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", OPENAI_JS]
        try:
            done = subprocess.run(command, cwd=CACHE, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not answer in time")
        if done.returncode:
            pytest.skip("npm cannot install the client: no registry can be reached")
    return CACHE


async def test_openais_client_for_javascript(server: Server, client: Client) -> None:
    folder = await asyncio.to_thread(javascript_client)
    script = folder / f"test-{os.getpid()}.mjs"
    script.write_text(JAVASCRIPT)
    try:
        assert await run("node", str(script), server=server, client=client, folder=folder) == "good"
    finally:
        script.unlink()


@pytest.mark.clients
@pytest.mark.parametrize(("module", "code"), [("langchain_openai", LANGCHAIN), ("litellm", LITELLM)])
async def test_a_python_client(server: Server, client: Client, tmp_path: Path, module: str, code: str) -> None:
    find = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
    if await asyncio.to_thread(subprocess.call, [CLIENTS_PYTHON, "-c", find]):
        pytest.skip(f"{module} is not installed for {CLIENTS_PYTHON}")
    assert await run(CLIENTS_PYTHON, "-c", code, server=server, client=client, folder=tmp_path) == "good"


@pytest.mark.clients
async def test_the_command_llm(server: Server, client: Client, tmp_path: Path) -> None:
    command = shutil.which("llm", path=f"{Path(CLIENTS_PYTHON).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("llm is not installed")
    model = (
        f"- model_id: palaver\n  model_name: gpt-4.1-mini\n  api_base: {server.base_url}/v1\n  api_key_name: palaver\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(model)
    for options in ([], ["--no-stream"]):
        said = await run(
            command, "-m", "palaver", "--key", client.key or "", *options, "hi",
            server=server, client=client, folder=tmp_path, LLM_USER_PATH=str(tmp_path),
        )  # fmt: skip
        assert said == "You said: hi"
