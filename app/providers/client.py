"""The one client of model servers: the `openai` package for the request, Palaver's decoder for the reply."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, cast

import aiohttp
import httpx2
import msgspec
from openai import (
    APIError,
    APIStatusError,
    AsyncOpenAI,
    AsyncStream,
    Omit,
    RequestOptions,
    omit,
)

from app.providers.chunks import chunks_of
from app.providers.decoder import BROKEN_OFF, DETAIL_CHARS, MAX_EVENT_BYTES, ReplyDecoder, refusal_in
from app.providers.listing import CachedModelList
from app.providers.models import REQUEST_REFUSED, Delta, ModelRequest, ProviderSpec, UpstreamError
from app.providers.transport import Body, HttpClient, url_of
from app.retry_after import parse_retry_after

MAX_REPLY_BYTES = 8 * 1024**2
LISTING_TIMEOUT_SECONDS = 5.0
DRAIN_SECONDS = 0.05

_COMPLETIONS = "chat/completions"
# fmt: off
_TOLD_OF_THE_CLIENT = (
    "X-Stainless-Lang", "X-Stainless-Package-Version", "X-Stainless-OS", "X-Stainless-Arch", "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version", "X-Stainless-Async", "x-stainless-retry-count", "x-stainless-read-timeout",
)
# fmt: on
_encode = msgspec.json.encode

_UNREACHABLE = "The model server could not be reached"
_SILENT = "The model server did not answer in time"
_SILENT_MIDWAY = "The model server fell silent in the middle of its reply"
_REJECTED = "The model server rejected the request"
_FAILED = "The model server failed"
_REFUSALS = {
    401: "The model server refused Palaver's credentials",
    402: "The model server wants to be paid first",
    403: "The model server refused Palaver's credentials",
    404: "The model server does not know this model",
    408: _SILENT,
    413: "The conversation is too long for the model server",
    429: "The model server is receiving too many requests",
    504: _SILENT,
}

# In the place of a request that has been answered, with whose body and headers nothing more is done.
_ANSWERED = httpx2.Request("POST", "http://answered.invalid")

# Some of aiohttp's errors come through its httpx transport as they are.
_TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)


class _Client(AsyncOpenAI):
    """The openai client, which would take the same address apart for each request."""

    def _prepare_url(self, url: str) -> httpx2.URL:
        return url_of(url) if url.startswith("http") else super()._prepare_url(url)


class Provider:
    """One model server. `http_client` takes the place of the network: the embedded model comes in that way."""

    def __init__(
        self,
        spec: ProviderSpec,
        *,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.id = spec.id
        self.default_model = spec.default_model
        self.models = spec.models
        self._spec = spec
        self._max_reply_bytes = max_reply_bytes
        self._asks_for_usage = True
        self._timeouts: dict[float, httpx2.Timeout] = {}
        self._secrets = [secret for secret in (spec.api_key, *spec.extra_headers.values()) if secret]
        self._headers: dict[str, str | Omit] = {
            # A server without keys gets no Authorization at all; the client insists on having some key.
            "Authorization": f"Bearer {spec.api_key}" if spec.api_key else omit,
            # Compression would hold tokens back until there are enough of them to compress.
            "Accept-Encoding": "identity",
            # The client would take these from the environment, for whichever server this is.
            "OpenAI-Organization": omit,
            "OpenAI-Project": omit,
            # What the client tells of this machine, and of its own tries. Each header is handled five times on its way.
            **dict.fromkeys(_TOLD_OF_THE_CLIENT, omit),
            **spec.extra_headers,
        }
        self._client = _Client(
            base_url=spec.base_url,
            api_key=spec.api_key or "none",
            max_retries=spec.max_retries,
            http_client=http_client or HttpClient(),
        )
        # A whole URL is taken as it is; a path would be joined to the base anew for each request.
        self._completions_url = f"{self._client.base_url}{_COMPLETIONS}"
        self._listing = CachedModelList(self._ask_for_models)

    def accepts(self, model: str) -> bool:
        """Whether a request may name that model."""
        return not self.models or model in self.models or model == self.default_model

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[Delta], None]:
        """The reply: one list of deltas for each read from the socket that brought any. Raises UpstreamError.

        Closing the generator closes the connection, which tells the model server to stop.
        """
        decoder = ReplyDecoder(self._max_reply_bytes, keep_raw=request.keep_raw)
        response = await self._open(request)
        in_pieces = request.keep_raw and request.stream
        # What was asked, maybe a long conversation, is not kept while the reply is waited for.
        del request
        response.request = _ANSWERED
        try:
            async with _body(response) as chunks:
                try:
                    if _content_type(response) == "application/json":
                        whole = await self._read_whole(chunks)
                        if in_pieces and (pieces := chunks_of(whole)):
                            yield decoder.feed(pieces)
                            yield decoder.end()
                        else:
                            yield decoder.take_whole(whole)
                    else:
                        async for data in chunks:
                            if deltas := decoder.feed(data):
                                yield deltas
                            if decoder.done:
                                break
                        if deltas := decoder.end():
                            yield deltas
                except _TRANSPORT_ERRORS as error:
                    raise self._broken(error) from None
                if decoder.failure is None and not (isinstance(chunks, Body) and chunks.is_over):
                    await _drain(chunks)
        finally:
            await response.aclose()
        if decoder.failure is not None:
            raise self._safe(decoder.failure)

    @property
    def must_ask_for_models(self) -> bool:
        """Whether `model_ids` would have to ask the model server."""
        return self._listing.is_old

    async def model_ids(self) -> Sequence[str] | None:
        """The models that the model server says it has; None when it does not say. Asked at most every few minutes."""
        return await self._listing.get()

    async def call(self, path: str, body: Mapping[str, Any]) -> bytes:
        """What the model server answers, as it comes, to a POST of JSON at `path` below its address.

        Raises UpstreamError.
        """
        try:
            response = await self._client.post(
                path,
                cast_to=httpx2.Response,
                body=body,
                options={"headers": self._headers, "timeout": self._spec.timeout_seconds},
            )
        except APIStatusError as error:
            raise self._safe(_refusal(error)) from None
        except (APIError, ValueError, *_TRANSPORT_ERRORS) as error:
            raise self._unreachable(error) from None
        if _content_type(response) != "application/json":
            raise UpstreamError("The model server answered with something that is not JSON")
        return response.content

    async def _ask_for_models(self) -> Sequence[str]:
        client = self._client.with_options(max_retries=0, timeout=LISTING_TIMEOUT_SECONDS)
        return [model.id async for model in client.models.list(extra_headers=self._headers)]

    async def close(self) -> None:
        await self._client.close()

    async def _open(self, request: ModelRequest) -> httpx2.Response:
        """The answer, once its status and content type have come and are good. Raises UpstreamError."""
        try:
            response = await self._send(request)
        except APIStatusError as error:
            raise self._safe(_refusal(error)) from None
        except (APIError, ValueError, *_TRANSPORT_ERRORS) as error:  # ValueError: a header that cannot be sent
            raise self._unreachable(error) from None
        content_type = _content_type(response)
        expected = ("text/event-stream", "application/json") if request.stream else ("application/json",)
        if content_type not in expected:
            await response.aclose()
            detail = f"status {response.status_code}, content type {content_type or 'missing'}"
            raise UpstreamError("The model server answered with something that is not a reply", detail=detail)
        return response

    async def _send(self, request: ModelRequest) -> httpx2.Response:
        if not request.stream:
            return await self._post(request, asks_for_usage=False)
        if self._asks_for_usage:
            try:
                return await self._post(request, asks_for_usage=True)
            except APIStatusError as error:
                if error.status_code not in (400, 422) or "stream_options" not in _body_of(error):
                    raise
        response = await self._post(request, asks_for_usage=False)
        # Only now is it sure that this was what the server did not like.
        self._asks_for_usage = False
        return response

    async def _post(self, request: ModelRequest, *, asks_for_usage: bool) -> httpx2.Response:
        body = {**request.params, "messages": request.messages}
        if asks_for_usage:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        elif request.stream:
            body.pop("stream_options", None)
        response: object = await self._client.post(
            self._completions_url,
            # The answer as it comes. The client's own walk through arguments and events costs 0.1 ms a message.
            cast_to=httpx2.Response,
            content=_encode({**body, "model": request.model, "stream": request.stream}),
            options=self._options(request),
            stream=True,
            stream_cls=AsyncStream[object],
        )
        return cast(httpx2.Response, response)  # what `cast_to` asks for, whatever the signature says

    def _options(self, request: ModelRequest) -> RequestOptions:
        silence = request.timeout_seconds or self._spec.timeout_seconds
        timeout = self._timeouts.get(silence)
        if timeout is None:
            timeout = httpx2.Timeout(silence, connect=self._spec.connect_timeout_seconds)
            self._timeouts[silence] = timeout
        return {
            "headers": self._headers,
            "timeout": timeout,
            "max_retries": self._spec.max_retries if request.max_retries is None else request.max_retries,
            # What is left out the client makes a deep copy of its own default for. The headers hold the key.
            "params": {},
            "security": {},
            # Which it would make up, and sends to no server.
            "idempotency_key": "",
        }

    async def _read_whole(self, chunks: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        async for data in chunks:
            body += data
            if len(body) > self._max_reply_bytes + MAX_EVENT_BYTES:
                message = f"The model server's reply is longer than {self._max_reply_bytes} bytes"
                raise UpstreamError(message, detail=f"{len(body)} bytes of JSON were read")
        return bytes(body)

    def _unreachable(self, error: Exception) -> UpstreamError:
        silent = _is_silence(error.__cause__) or _is_silence(error)
        return self._safe(UpstreamError(_SILENT if silent else _UNREACHABLE, detail=_chain(error), silent=silent))

    def _broken(self, error: Exception) -> UpstreamError:
        silent = _is_silence(error)
        message = _SILENT_MIDWAY if silent else BROKEN_OFF
        return self._safe(UpstreamError(message, detail=_chain(error), silent=silent))

    def _safe(self, error: UpstreamError) -> UpstreamError:
        """The same error, its detail without the provider's secrets: some servers repeat the key they refuse."""
        error.detail = self._without_secrets(error.detail)
        if error.refusal is not None:
            message = self._without_secrets(error.refusal.message)
            error.refusal = msgspec.structs.replace(error.refusal, message=message)
        return error

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text


def _body(response: httpx2.Response) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """The answer's bytes, as they come."""
    encoded = "content-encoding" in response.headers
    chunks = response.aiter_bytes() if encoded else aiter(cast(httpx2.AsyncByteStream, response.stream))
    return aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext(chunks)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads the end of the body behind `[DONE]`, so that the connection can be used again.

    It has nearly always come already; a server that keeps the stream open loses the connection instead.
    """
    with contextlib.suppress(TimeoutError, *_TRANSPORT_ERRORS):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _refusal(error: APIStatusError) -> UpstreamError:
    status = error.status_code
    message = _REFUSALS.get(status) or (_REJECTED if status < 500 else _FAILED)
    detail = f"status {status}: {_body_of(error)[:DETAIL_CHARS]}"
    refusal = refusal_in(error.response.content) if status in REQUEST_REFUSED else None
    wait = parse_retry_after(error.response.headers.get("Retry-After"))
    return UpstreamError(message, status=status, detail=detail, retry_after=wait, refusal=refusal)


def _body_of(error: APIStatusError) -> str:
    return error.response.text


def _content_type(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_silence(error: BaseException | None) -> bool:
    # Not httpx2.TimeoutException: the aiohttp transport uses its ConnectTimeout for every kind of lost connection.
    return isinstance(error, (httpx2.ReadTimeout, TimeoutError))


def _chain(error: BaseException) -> str:
    """The error and what caused it, in one line: the client's own errors say no more than `Connection error.`"""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 4:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return " < ".join(lines)[:DETAIL_CHARS]
