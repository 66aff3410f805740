"""The network below the openai client: aiohttp, without cookies.

The transport that the openai package brings makes its own session, whose cookie jar would send one caller's cookies
with the next one's request, and has no public way to another jar.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from io import BytesIO
from typing import Any, Final

import aiohttp
import httpx2
from openai import APITimeoutError, DefaultAioHttpClient

from app.egress import public_socket
from app.providers.network import HttpProxy, Network, SocksProxy
from app.retry_after import parse_retry_after

MAX_RETRY_WAIT_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 60.0
MAX_ERROR_BYTES: Final = 64 * 1024
ERROR_SECONDS: Final = 10.0
LARGE_BYTES: Final = 512 * 1024
"""A larger request is sent piece by piece; aiohttp would write it at once, and hold up everybody else."""
MAX_CONNECTIONS: Final = 10_000
"""One stream is one connection; aiohttp's default of a hundred would make the next one wait."""


class HttpClient(DefaultAioHttpClient):
    """The openai package's HTTP client, with a short way for what it is used for.

    httpx2 merges and parses the URL, headers, cookies and parameters of each request several times, though there is
    nothing to merge, and looks for redirections and credentials behind each answer: 7 % of a chat. A redirection is
    an error: who is sent the conversation and the keys is configured, and not for a model server to say.
    """

    def __init__(self, network: Network, *, public_only: bool = False) -> None:
        self._direct = AiohttpTransport(network, public_only=public_only)
        super().__init__(
            transport=self._direct,
            trust_env=False,  # the transport knows the environment's proxies
            auth=httpx2.Auth(),  # none: aiohttp sends the name and password of an address
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            event_hooks={"response": [_forbid_long_waits]},
        )
        # The openai client sends its own. Merging them into each request costs 1 % of a chat.
        self.headers.clear()

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        content, timeout = options.get("content"), options.get("timeout")
        if not isinstance(content, bytes) or options.get("params") or not isinstance(timeout, httpx2.Timeout):
            return super().build_request(method, url, **options)
        extensions = {"timeout": timeout.as_dict()}
        return httpx2.Request(
            method, _parse_url(str(url)), headers=options.get("headers"), content=content, extensions=extensions
        )

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if not options.get("stream"):
            return await super().send(request, **options)
        response = await self._direct.handle_async_request(request)
        response.request = request
        await _forbid_long_waits(response)
        return response


@lru_cache(maxsize=256)
def _parse_url(text: str) -> httpx2.URL:
    """Parse the address of a model server, of which there are few."""
    return httpx2.URL(text)


async def _forbid_long_waits(response: httpx2.Response) -> None:
    """Forbid the openai client a retry after a longer wait than a person has patience for."""
    header = response.headers.get("Retry-After")
    if header is not None and (parse_retry_after(header) or 0) > MAX_RETRY_WAIT_SECONDS:
        response.headers["x-should-retry"] = "false"


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Requests through the proxies of the network, each SOCKS proxy with a session of its own.

    With `public_only` they go to addresses of the public internet alone, and so through no proxy, which would look the
    names up itself.
    """

    def __init__(self, network: Network, *, public_only: bool = False) -> None:
        self._network = network
        self._public_only = public_only
        self._sessions: dict[SocksProxy | None, aiohttp.ClientSession] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request. Raises APITimeoutError for a silent server, ConnectTimeout, ConnectError, aiohttp's errors.

        The openai client retries after httpx2's errors, but not after its own. A silent server may be at work on the
        request, and the caller has waited long enough.
        """
        timeout = request.extensions.get("timeout", {})
        proxy = None if self._public_only else self._network.proxy_for(request.url.scheme, request.url.host)
        content = await request.aread()
        try:
            response = await self._session(proxy if isinstance(proxy, SocksProxy) else None).request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=BytesIO(content) if len(content) > LARGE_BYTES else content or None,
                allow_redirects=False,
                proxy=proxy.url if isinstance(proxy, HttpProxy) else None,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except aiohttp.SocketTimeoutError as error:
            raise APITimeoutError(request=request) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except aiohttp.ClientConnectionError as error:  # refused, reset, or closed without an answer
            raise httpx2.ConnectError(str(error)) from error
        headers: Sequence[tuple[bytes, bytes]] = response.raw_headers
        if response.status < 300:
            return httpx2.Response(response.status, headers=headers, stream=ResponseStream(response))
        # The beginning of an error is enough. It is not unpacked, which nobody has asked for either.
        headers = [(name, value) for name, value in headers if name.lower() != b"content-encoding"]
        return httpx2.Response(response.status, headers=headers, stream=ErrorStream(response))

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _session(self, proxy: SocksProxy | None) -> aiohttp.ClientSession:
        session = self._sessions.get(proxy)
        if session is None:  # a session needs the running loop
            session = self._sessions[proxy] = _open_session(proxy, self._network.ssl_context, self._public_only)
        return session


def _open_session(proxy: SocksProxy | None, ssl_context: ssl.SSLContext, public_only: bool) -> aiohttp.ClientSession:
    options: dict[str, Any] = {"limit": MAX_CONNECTIONS, "keepalive_timeout": KEEP_ALIVE_SECONDS, "ssl": ssl_context}
    if proxy is None:
        factory = public_socket if public_only else None
        connector, middlewares = aiohttp.TCPConnector(**options, socket_factory=factory), []
    else:
        from app.providers import socks

        connector, middlewares = socks.connector(proxy, **options), [socks.translate_errors]
    return aiohttp.ClientSession(
        connector=connector,
        middlewares=middlewares,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


class ResponseStream(httpx2.AsyncByteStream):
    """A response's body: each read returns all bytes that have come. Raises aiohttp's errors."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._response.content.iter_any())

    async def aclose(self) -> None:
        self._response.release()


class ErrorStream(ResponseStream):
    """The beginning of a body that may have no end."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        deadline = asyncio.get_running_loop().time() + ERROR_SECONDS
        pieces = super().__aiter__()
        size = 0
        while size < MAX_ERROR_BYTES:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await anext(pieces, b"")
            except (TimeoutError, aiohttp.ClientError):
                return
            if not data:
                return
            yield data[: MAX_ERROR_BYTES - size]
            size += len(data)
