"""A model server, and Palaver's provider for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from app.providers.client import Provider
from app.providers.models import Delta, ModelRequest, ProviderSpec, UpstreamError
from tests.support.answers import SECRET
from tests.support.model_server import ModelServer

MakeProvider = Callable[..., Provider]


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def make_provider(model: ModelServer) -> AsyncIterator[MakeProvider]:
    """Providers for `model`, made with the fields of a spec given by name; closed at the end."""
    spec = ProviderSpec(id="p", base_url=model.base_url, default_model="m", api_key=SECRET, max_retries=0)
    async with AsyncExitStack() as stack:

        def make(*, max_reply_bytes: int = 100_000, **fields: Any) -> Provider:
            provider = Provider(replace(spec, **fields), max_reply_bytes=max_reply_bytes)
            stack.push_async_callback(provider.close)
            return provider

        yield make


@pytest.fixture
def provider(make_provider: MakeProvider) -> Provider:
    return make_provider()


def asking(text: str = "hello", **fields: Any) -> ModelRequest:
    return ModelRequest("m", [{"role": "user", "content": text}], **fields)


class Reply:
    """What a provider's stream brought, to its end or its error."""

    def __init__(self) -> None:
        self.reads: list[list[Delta]] = []
        self.error: UpstreamError | None = None

    @property
    def deltas(self) -> list[Delta]:
        return [delta for read in self.reads for delta in read]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def failure(self) -> UpstreamError:
        assert self.error is not None, f"the stream went well: {self.text!r}"
        return self.error


async def collect(provider: Provider, request: ModelRequest) -> Reply:
    reply = Reply()
    try:
        async for deltas in provider.stream(request):
            reply.reads.append(list(deltas))
    except UpstreamError as error:
        reply.error = error
    return reply
