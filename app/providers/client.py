"""The client of model servers: the `openai` package for the request, Palaver's decoder for the reply."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, cast

import httpx2
import msgspec
from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream, Omit, RequestOptions, omit

from app.providers.answer import AnswerReader
from app.providers.errors import TRANSPORT_ERRORS, connection_error, redact, secrets_of, status_error, stream_error
from app.providers.listing import CachedModelList, parse_model_list
from app.providers.models import Delta, ModelRequest, ProviderSpec, UpstreamError
from app.providers.network import Network
from app.providers.transport import HttpClient
from app.providers.unsupported import NO_NAMES, STREAM_OPTIONS, UnsupportedParams, refused_params

MAX_REPLY_BYTES = 8 * 1024**2
MAX_ANSWER_BYTES = 64 * 1024**2
"""Of an answer to a call other than chat: embeddings."""
MAX_LISTING_BYTES = 4 * 1024**2
LISTING_TIMEOUT_SECONDS = 5.0
FINISH_SECONDS = 2.0
"""How long the usage is waited for behind a finish reason."""
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
        self.spec = self._spec = spec
        self._max_reply_bytes = max_reply_bytes
        self._unsupported = UnsupportedParams()
        self._secrets = secrets_of(spec)
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
            http_client=http_client or HttpClient(network or Network(), public_only=spec.public_only),
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
        response = await self._open(request)
        answer = self._reader(request, response)
        decoder = answer.decoder
        # The request may hold a long conversation: release it before the reply, which may take minutes.
        del request
        response.request = _NO_REQUEST
        try:
            async with _body(response) as body:
                try:
                    async for data in body:
                        if deltas := answer.feed(data):
                            yield deltas
                        if decoder.done or decoder.finished:
                            break
                    deadline = asyncio.get_running_loop().time() + FINISH_SECONDS
                    while not decoder.done and (data := await _read_before(deadline, body)):
                        if deltas := answer.feed(data):
                            yield deltas
                except TRANSPORT_ERRORS as error:
                    if not answer.is_complete:
                        raise self._redact(stream_error(error)) from None
                if deltas := answer.end():
                    yield deltas
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
        options: RequestOptions = {"headers": self._headers, "timeout": self._spec.timeout_seconds}
        try:
            response = await self._client.post(
                self._url(path),
                cast_to=httpx2.Response,
                body=body,
                options=options,
                stream=True,
                stream_cls=AsyncStream[object],
            )
            async with asyncio.timeout(self._spec.timeout_seconds):
                answer = await _read_whole(cast(httpx2.Response, response), MAX_ANSWER_BYTES)
        except APIStatusError as error:
            raise self._redact(status_error(error)) from None
        except (APIError, ValueError, *TRANSPORT_ERRORS) as error:
            raise self._redact(connection_error(error)) from None
        if not answer.lstrip().startswith((b"{", b"[")):
            raise UpstreamError("The model server answered with something that is not JSON")
        return answer

    async def close(self) -> None:
        await self._client.close()

    def _url(self, path: str) -> str:
        url = f"{self._client.base_url}{path.lstrip('/')}"
        return f"{url}?{self._query}" if self._query else url

    async def _list_models(self) -> Sequence[str] | None:
        options: RequestOptions = {"headers": self._headers, "timeout": LISTING_TIMEOUT_SECONDS, "max_retries": 0}
        async with asyncio.timeout(LISTING_TIMEOUT_SECONDS):
            response = await self._client.get(
                self._url("/models"),
                cast_to=httpx2.Response,
                options=options,
                stream=True,
                stream_cls=AsyncStream[object],
            )
            return parse_model_list(await _read_whole(cast(httpx2.Response, response), MAX_LISTING_BYTES))

    async def _open(self, request: ModelRequest) -> httpx2.Response:
        """The response, with a good status. Raises UpstreamError."""
        try:
            return await self._send(request)
        except APIStatusError as error:
            raise self._redact(status_error(error)) from None
        except (APIError, ValueError, *TRANSPORT_ERRORS) as error:  # ValueError: a header that cannot be sent
            raise self._redact(connection_error(error)) from None

    async def _send(self, request: ModelRequest) -> httpx2.Response:
        """Send the request, without what Palaver adds to it on its own if the model does not support that."""
        omitted = self._unsupported.by_model.get(request.model, NO_NAMES)
        try:
            return await self._post(request, omitted)
        except APIStatusError as error:
            candidates = request.defaults | {STREAM_OPTIONS} if request.stream else request.defaults
            names = refused_params(error, candidates - omitted)
            if not names:
                raise
        while True:
            omitted |= names
            try:
                response = await self._post(request, omitted)
            except APIStatusError as error:
                names = refused_params(error, candidates - omitted)
                if not names:
                    raise
            else:
                self._unsupported.add(request.model, omitted)
                return response

    async def _post(self, request: ModelRequest, omitted: frozenset[str]) -> httpx2.Response:
        body = {**request.params, "messages": request.messages}
        if omitted:
            for name in omitted & (request.defaults | {STREAM_OPTIONS}):
                body.pop(name, None)
        if request.stream and STREAM_OPTIONS not in omitted:
            body[STREAM_OPTIONS] = {**(body.get(STREAM_OPTIONS) or {}), "include_usage": True}
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

    def _reader(self, request: ModelRequest, response: httpx2.Response) -> AnswerReader:
        count = request.params.get("n")
        return AnswerReader(
            _content_type(response),
            self._max_reply_bytes,
            stream=request.stream,
            keep_raw=request.keep_raw,
            choices=count if isinstance(count, int) and count > 1 else 1,
        )

    def _redact(self, error: UpstreamError) -> UpstreamError:
        return redact(error, self._secrets)


def _body(response: httpx2.Response) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """The response's bytes as they come. Without compression they skip httpx2's decoding, three generators a stream."""
    encoded = "content-encoding" in response.headers
    body = response.aiter_bytes() if encoded else aiter(cast(httpx2.AsyncByteStream, response.stream))
    return aclosing(body) if isinstance(body, AsyncGenerator) else nullcontext(body)


async def _read_before(deadline: float, body: AsyncIterator[bytes]) -> bytes:
    """The next bytes behind a finish reason, nearly always with the usage.

    Nothing if they have not come by the deadline, on the loop's clock: what has a finish reason is finished, however
    the connection ends.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(body, b"")
    except (TimeoutError, *TRANSPORT_ERRORS):
        return b""


async def _read_whole(response: httpx2.Response, limit: int) -> bytes:
    """The response's body. Raises UpstreamError for a larger one, and TRANSPORT_ERRORS."""
    data = bytearray()
    try:
        async with _body(response) as body:
            async for piece in body:
                data += piece
                if len(data) > limit:
                    raise UpstreamError(f"The model server's answer is larger than {limit} bytes")
    finally:
        await response.aclose()
    return bytes(data)


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
