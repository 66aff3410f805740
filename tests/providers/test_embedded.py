"""The embedded model, reached without a socket."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from app.providers.client import Provider
from app.providers.embedded import EmbeddedModel, embedded_provider
from app.providers.models import ModelRequest
from tests.providers.conftest import collect


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = embedded_provider(100_000)
    yield provider
    await provider.close()


def open_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=EmbeddedModel(), base_url="http://app/v1", trust_env=False)


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
        async with open_client() as client:
            whole = await client.post("/chat/completions", json={"messages": messages})
            assert whole.json()["choices"][0]["message"]["content"].startswith("You said: “hi”")
            streamed = await client.post("/chat/completions", json={"messages": messages, "stream": True})
            assert streamed.text.endswith("data: [DONE]\n\n")
            assert '"usage"' not in streamed.text
            assert (await client.get("/models")).json()["data"][0]["id"] == "embedded"
            assert (await client.post("/chat/completions", content=b"{")).status_code == 400
            assert (await client.post("/chat/completions", json={"messages": 1})).status_code == 400
            assert (await client.get("/other")).status_code == 404

    async def test_others_are_served_while_it_streams(self) -> None:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        json = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with open_client() as client, client.stream("POST", "/chat/completions", json=json) as response:
            other = asyncio.create_task(take_turns())
            count = len([chunk async for chunk in response.aiter_raw()])
            other.cancel()
        assert count > 20
        assert turns > 20

    async def test_a_reader_may_leave_in_the_middle(self) -> None:
        json = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with open_client() as client:
            async with client.stream("POST", "/chat/completions", json=json) as response:
                assert await anext(response.aiter_raw())
            assert response.is_closed
            assert (await client.get("/models")).status_code == 200
