"""The way to model servers: aiohttp, below the openai client and httpx2, which it has a transport of its own for.

The openai package brings such a transport too. This one keeps no cookies, and gives the body as it comes: theirs, with
httpx2's reading of it, passes each piece through four generators, which stay with every open stream.
"""

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import httpx2
from openai import APITimeoutError, DefaultAioHttpClient

from app.retry_after import parse_retry_after

MAX_RETRY_WAIT_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 60.0
MAX_CONNECTIONS: Final = 10_000
"""One stream is one connection: by default the openai client would let the thousandth wait, aiohttp the hundredth."""


@lru_cache(maxsize=256)
def url_of(text: str) -> httpx2.URL:
    """The address, taken apart once: there are few, and each request has one."""
    return httpx2.URL(text)


@lru_cache(maxsize=256)
def _text(data: bytes) -> str:
    """A header's name or value. One text serves all requests, and stays with all that are answered now."""
    return data.decode("latin1")


class HttpClient(DefaultAioHttpClient):
    """The openai package's aiohttp client, but for what it retries, and for its way where there is no proxy.

    A server that took the request and then kept silent for `timeout_seconds` is not asked again: it may be at work on
    it, and the caller has waited long enough. Nor is one that wants to be left alone for longer than a person waits.
    """

    def __init__(self) -> None:
        self._direct = None if getproxies().keys() & {"http", "https", "all"} else AiohttpTransport()
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS)
        super().__init__(limits=limits, transport=self._direct)

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        """The same request without httpx2's merging of URLs, headers, cookies and parameters, of which it has none."""
        content, timeout = given.get("content"), given.get("timeout")
        if not isinstance(content, bytes) or given.get("params") or not isinstance(timeout, httpx2.Timeout):
            return super().build_request(method, url, **given)
        headers, extensions = given.get("headers"), {"timeout": timeout.as_dict()}
        return httpx2.Request(method, url_of(str(url)), headers=headers, content=content, extensions=extensions)

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        try:
            response = await self._sent(request, kwargs)
        except httpx2.ReadTimeout as error:
            raise APITimeoutError(request=request) from error
        if (parse_retry_after(response.headers.get("Retry-After")) or 0) > MAX_RETRY_WAIT_SECONDS:
            response.headers["x-should-retry"] = "false"
        return response

    async def _sent(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """The answer; straight from the transport where httpx2 would find nothing to do before or behind it."""
        if self._direct is not None and options.get("stream"):
            response = await self._direct.handle_async_request(request)
            if not response.has_redirect_location:
                return response
            await response.aclose()
        return await super().send(request, **options)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests, whose bodies are bytes, by a session of aiohttp's. No proxies, no redirections."""

    def __init__(self) -> None:
        self._tls = httpx2.create_ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises ReadTimeout for a server that keeps silent, ConnectTimeout, and aiohttp's errors."""
        seconds = request.extensions.get("timeout", {})
        headers = [(_text(name), _text(value)) for name, value in request.headers.raw]
        try:
            answer = await self._opened().request(
                request.method,
                str(request.url),
                headers=headers,
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=seconds.get("pool"), sock_connect=seconds.get("connect"), sock_read=seconds.get("read")
                ),
            )
        except aiohttp.SocketTimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=Body(answer), request=request)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session needs the running loop
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._tls)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session


class Body(httpx2.AsyncByteStream):
    """An answer's body: each piece is all that has come since the last. Raises aiohttp's errors."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    @property
    def is_over(self) -> bool:
        """Whether all of it was read, its end included: the connection can be used again."""
        return self._answer.content.at_eof()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._answer.content.readany():
            return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._answer.release()
