"""The client of model servers: the `openai` package for the request, Palaver's decoder for the reply."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, cast

import httpx2
import msgspec
from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream, Omit, RequestOptions, omit

from app.providers.chunks import chunks_of
from app.providers.decoder import MAX_EVENT_BYTES, ReplyDecoder
from app.providers.errors import TRANSPORT_ERRORS, connection_error, redact, status_error, stream_error
from app.providers.listing import CachedModelList
from app.providers.models import Delta, ModelRequest, ProviderSpec, UpstreamError
from app.providers.network import Network
from app.providers.transport import HttpClient

MAX_REPLY_BYTES = 8 * 1024**2
LISTING_TIMEOUT_SECONDS = 5.0
DRAIN_SECONDS = 0.05

_COMPLETIONS = "chat/completions"
# fmt: off
_TELEMETRY_HEADERS = (
    "X-Stainless-Lang", "X-Stainless-Package-Version", "X-Stainless-OS", "X-Stainless-Arch", "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version", "X-Stainless-Async", "x-stainless-retry-count", "x-stainless-read-timeout",
)
# fmt: on
_NO_REQUEST = httpx2.Request("POST", "http://none.invalid")

_encode = msgspec.json.encode


class Provider:
    """One model server. `http_client` replaces the network: the embedded model is reached that way."""

    def __init__(
        self,
        spec: ProviderSpec,
        *,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        network: Network | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.id = spec.id
        self.default_model = spec.default_model
        self.models = spec.models
        self._spec = spec
        self._max_reply_bytes = max_reply_bytes
        self._include_usage = True
        self._secrets = [secret for secret in (spec.api_key, *spec.extra_headers.values()) if secret]
        self._headers: dict[str, str | Omit] = {
            # A server without keys gets no Authorization at all; the client insists on having some key.
            "Authorization": f"Bearer {spec.api_key}" if spec.api_key else omit,
            # Compression would hold tokens back until there are enough of them to compress.
            "Accept-Encoding": "identity",
            # The client takes these from the environment, whichever server it calls.
            "OpenAI-Organization": omit,
            "OpenAI-Project": omit,
            # They describe this machine and the client's retries. Each header is handled five times on its way.
            **dict.fromkeys(_TELEMETRY_HEADERS, omit),
            **spec.extra_headers,
        }
        # Azure's addresses have a query, which belongs behind the path of each request.
        address, _, self._query = spec.base_url.partition("?")
        self._client = AsyncOpenAI(
            base_url=address,
            api_key=spec.api_key or "none",
            max_retries=spec.max_retries,
            http_client=http_client or HttpClient(network or Network()),
        )
        # The client takes a whole URL as it is, and joins a path to the base for each request.
        self._completions_url = self._url(_COMPLETIONS)
        self._listing = CachedModelList(self._list_models)

    def accepts(self, model: str) -> bool:
        """Whether a request may name that model."""
        return not self.models or model in self.models or model == self.default_model

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[Delta], None]:
        """The reply: one list of deltas for each read from the socket that brought any. Raises UpstreamError.

        Closing the generator closes the connection, which tells the model server to stop.
        """
        decoder = ReplyDecoder(self._max_reply_bytes, keep_raw=request.keep_raw)
        response = await self._open(request)
        needs_chunks = request.keep_raw and request.stream
        # The request may hold a long conversation: release it before the reply, which may take minutes.
        del request
        response.request = _NO_REQUEST
        try:
            async with _body(response) as body:
                try:
                    if _content_type(response) == "application/json":
                        completion = await self._read_completion(body)
                        if needs_chunks and (chunks := chunks_of(completion)):
                            yield decoder.feed(chunks)
                            yield decoder.end()
                        else:
                            yield decoder.take_whole(completion)
                    else:
                        async for data in body:
                            if deltas := decoder.feed(data):
                                yield deltas
                            if decoder.done:
                                break
                        if deltas := decoder.end():
                            yield deltas
                except TRANSPORT_ERRORS as error:
                    raise self._redact(stream_error(error)) from None
                if decoder.failure is None:
                    await _drain(body)
        finally:
            await response.aclose()
        if decoder.failure is not None:
            raise self._redact(decoder.failure)

    async def model_ids(self) -> Sequence[str] | None:
        """The model server's own list of models, at most a few minutes old; None if it has none."""
        return await self._listing.get()

    async def call(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The JSON answer to a POST of JSON at `path` below the model server's address. Raises UpstreamError."""
        try:
            response = await self._client.post(
                self._url(path),
                cast_to=httpx2.Response,
                body=body,
                options={"headers": self._headers, "timeout": self._spec.timeout_seconds},
            )
        except APIStatusError as error:
            raise self._redact(status_error(error)) from None
        except (APIError, ValueError, *TRANSPORT_ERRORS) as error:
            raise self._redact(connection_error(error)) from None
        if _content_type(response) != "application/json":
            raise UpstreamError("The model server answered with something that is not JSON")
        return response.content

    async def close(self) -> None:
        await self._client.close()

    def _url(self, path: str) -> str:
        url = f"{self._client.base_url}{path.lstrip('/')}"
        return f"{url}?{self._query}" if self._query else url

    async def _list_models(self) -> Sequence[str]:
        client = self._client.with_options(max_retries=0, timeout=LISTING_TIMEOUT_SECONDS)
        response = await client.get(self._url("/models"), cast_to=httpx2.Response, options={"headers": self._headers})
        return [model.id for model in msgspec.json.decode(response.content, type=_ModelList).data]

    async def _open(self, request: ModelRequest) -> httpx2.Response:
        """The response, with a good status and content type. Raises UpstreamError."""
        try:
            response = await self._send(request)
        except APIStatusError as error:
            raise self._redact(status_error(error)) from None
        except (APIError, ValueError, *TRANSPORT_ERRORS) as error:  # ValueError: a header that cannot be sent
            raise self._redact(connection_error(error)) from None
        content_type = _content_type(response)
        expected = ("text/event-stream", "application/json") if request.stream else ("application/json",)
        if content_type not in expected:
            await response.aclose()
            detail = f"status {response.status_code}, content type {content_type or 'missing'}"
            raise UpstreamError("The model server answered with something that is not a reply", detail=detail)
        return response

    async def _send(self, request: ModelRequest) -> httpx2.Response:
        if not request.stream:
            return await self._post(request, include_usage=False)
        if self._include_usage:
            try:
                return await self._post(request, include_usage=True)
            except APIStatusError as error:
                if error.status_code not in (400, 422) or "stream_options" not in error.response.text:
                    raise
        response = await self._post(request, include_usage=False)
        # The second try succeeded, so the server does not accept `stream_options`.
        self._include_usage = False
        return response

    async def _post(self, request: ModelRequest, *, include_usage: bool) -> httpx2.Response:
        body = {**request.params, "messages": request.messages}
        if include_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        elif request.stream:
            body.pop("stream_options", None)
        response: object = await self._client.post(
            self._completions_url,
            # The bare response: the client's own processing of arguments and events costs 0.1 ms a message.
            cast_to=httpx2.Response,
            content=_encode({**body, "model": request.model, "stream": request.stream}),
            options=self._options(request),
            stream=True,
            stream_cls=AsyncStream[object],
        )
        return cast(httpx2.Response, response)  # what `cast_to` asks for, whatever the signature says

    def _options(self, request: ModelRequest) -> RequestOptions:
        silence = request.timeout_seconds or self._spec.timeout_seconds
        return {
            "headers": self._headers,
            "timeout": httpx2.Timeout(silence, connect=self._spec.connect_timeout_seconds),
            "max_retries": self._spec.max_retries if request.max_retries is None else request.max_retries,
            # The client makes a deep copy of its own default for each option that is left out.
            "params": {},
            "security": {},  # the headers hold the key
            "idempotency_key": "",  # the client would generate one, and send it to no server
        }

    async def _read_completion(self, body: AsyncIterator[bytes]) -> bytes:
        completion = bytearray()
        async for data in body:
            completion += data
            if len(completion) > self._max_reply_bytes + MAX_EVENT_BYTES:
                message = f"The model server's reply is longer than {self._max_reply_bytes} bytes"
                raise UpstreamError(message, detail=f"{len(completion)} bytes of JSON were read")
        return bytes(completion)

    def _redact(self, error: UpstreamError) -> UpstreamError:
        return redact(error, self._secrets)


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


def _body(response: httpx2.Response) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """The response's bytes as they come. Without compression they skip httpx2's decoding, three generators a stream."""
    encoded = "content-encoding" in response.headers
    body = response.aiter_bytes() if encoded else aiter(cast(httpx2.AsyncByteStream, response.stream))
    return aclosing(body) if isinstance(body, AsyncGenerator) else nullcontext(body)


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read the rest of the body, to free the connection for the next request.

    It has nearly always come already. If the server keeps the stream open, the connection is closed instead.
    """
    with contextlib.suppress(TimeoutError, *TRANSPORT_ERRORS):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in body:
                pass


def _content_type(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()
