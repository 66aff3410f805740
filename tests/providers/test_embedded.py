"""The embedded model, and the transport that reaches it without a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from app.providers.asgi import AsgiApp, Receive, Scope, Send, StreamingAsgiTransport
from app.providers.client import Provider
from app.providers.embedded import embedded_model, embedded_provider
from app.providers.models import ModelRequest
from tests.providers.conftest import collect


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = embedded_provider(100_000)
    yield provider
    await provider.close()


def client_of(app: AsgiApp) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=StreamingAsgiTransport(app), base_url="http://app/v1", trust_env=False)


def conversation(*texts: str) -> ModelRequest:
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return ModelRequest("embedded", [{"role": "system", "content": "Be kind"}, *messages])


class TestModel:
    async def test_it_says_what_it_is_and_how_to_bring_in_a_real_one(self, provider: Provider) -> None:
        reply = await collect(provider, conversation("one", "two", "Who are\nyou?"))
        assert reply.error is None
        for expected in ("Who are you?", "3 messages", "Palaver's embedded model", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
            assert expected in reply.text

    async def test_it_streams_word_by_word(self, provider: Provider) -> None:
        reply = await collect(provider, conversation("hi"))
        words = [delta.text for delta in reply.deltas if delta.text]
        assert len(words) == len(reply.text.split())
        assert len(reply.reads) > 20

    async def test_it_reports_usage(self, provider: Provider) -> None:
        reply = await collect(provider, conversation("hello" * 8))
        usage = reply.deltas[-1].usage
        assert usage is not None
        assert usage.prompt_tokens == 12
        assert usage.completion_tokens == -(-len(reply.text) // 4)

    async def test_it_repeats_a_long_message_shortened(self, provider: Provider) -> None:
        assert len((await collect(provider, conversation("x" * 50_000))).text) < 1000

    async def test_it_takes_messages_in_parts(self, provider: Provider) -> None:
        parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
        reply = await collect(provider, ModelRequest("embedded", [{"role": "user", "content": parts}]))
        assert "Look: [image_url]" in reply.text

    async def test_it_accepts_its_own_name_only(self, provider: Provider) -> None:
        assert provider.accepts("embedded")
        assert not provider.accepts("gpt-4.1-mini")

    async def test_a_proxy_in_the_environment_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        provider = embedded_provider(100_000)
        assert (await collect(provider, conversation("hi"))).error is None
        await provider.close()

    async def test_it_speaks_openais_api(self) -> None:
        messages = [{"role": "user", "content": "hi"}]
        async with client_of(embedded_model) as client:
            whole = await client.post("/chat/completions", json={"messages": messages})
            assert whole.json()["choices"][0]["message"]["content"].startswith("You said: “hi”")
            streamed = await client.post("/chat/completions", json={"messages": messages, "stream": True})
            assert streamed.text.endswith("data: [DONE]\n\n")
            assert '"usage"' not in streamed.text
            assert (await client.get("/models")).json()["data"][0]["id"] == "embedded"
            assert (await client.post("/chat/completions", content=b"{")).status_code == 400
            assert (await client.post("/chat/completions", json={"messages": 1})).status_code == 400
            assert (await client.get("/other")).status_code == 404


def start(status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [(b"x-a", b"b")]}


def body(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class TestTransport:
    async def test_a_chunk_is_there_before_the_next_is_sent(self) -> None:
        gate = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["body"] == b"asked"
            await send(start(201))
            await send(body(b"first"))
            await gate.wait()
            await send(body(b"", more=True))
            await send(body(b"second", more=False))

        async with client_of(app) as client, client.stream("POST", "/x?y=1", content=b"asked") as response:
            assert (response.status_code, response.headers["x-a"]) == (201, "b")
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"first"
            gate.set()
            assert [chunk async for chunk in chunks] == [b"second"]

    async def test_the_application_does_not_run_ahead_of_its_reader(self) -> None:
        sent = 0

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal sent
            await send(start())
            for _ in range(100):
                await send(body(b"x"))
                sent += 1
            await send(body(b"", more=False))

        async with client_of(app) as client, client.stream("GET", "/") as response:
            async with aclosing(response.aiter_raw()) as chunks:
                await anext(chunks)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert sent <= 2
            await response.aclose()

    @pytest.mark.parametrize("answers_first", [True, False])
    async def test_the_application_is_cancelled_when_the_client_leaves(self, answers_first: bool) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await receive()
                if answers_first:
                    await send(start())
                started.set()
                await receive()
            finally:
                cancelled.set()

        async with client_of(app) as client:
            reader = asyncio.create_task(client.get("/"))
            await started.wait()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        assert cancelled.is_set()

    @pytest.mark.parametrize("messages", [[], [start()], [start(), body(b"x")], [body(b"x")]])
    @pytest.mark.parametrize("raises", [True, False])
    async def test_an_application_that_breaks_off_is_an_error(self, messages: list[Any], raises: bool) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for message in messages:
                await send(message)
            if raises:
                raise RuntimeError("broken")

        async with client_of(app) as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get("/")
