"""HTTP to platforms: one request, one outcome, over Palaver's own connections.

The guard of `app.egress` sits in the connector. Redirects are not followed, proxies and cookies not used, and nothing
is tried again here. URLs are not logged: some platforms have the token in them.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from app import __version__
from app.bots.adapters.outcomes import DeliveryError, NotSent, Refused, Unknown
from app.egress import AddressRefusedError, connector
from app.retry_after import parse_retry_after

CONNECT_SECONDS = 5.0
CALL_SECONDS = 20.0
MAX_ANSWER_BYTES = 4 * 1024**2
USER_AGENT = f"Palaver/{__version__}"


@dataclass(frozen=True, slots=True)
class Network:
    """The way to platforms; with `allow_private`, to loopback and private addresses too."""

    allow_private: bool = False
    resolver: AbstractResolver | None = None

    def client(self, platform: str, headers: Mapping[str, str] | None = None) -> "PlatformClient":
        """Make a client; `platform` is its name in error messages."""
        return PlatformClient(self, platform, headers or {})


@dataclass(frozen=True, slots=True)
class PlatformAnswer:
    """An answer of a platform, of whatever status."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            return None

    @property
    def object(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is not."""
        value = self.json
        return value if isinstance(value, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """The seconds of the header `Retry-After`."""
        return parse_retry_after(self.headers.get("Retry-After"))


class PlatformClient:
    """A bot's connections to its platform."""

    def __init__(self, network: Network, platform: str, headers: Mapping[str, str]) -> None:
        self._network = network
        self._platform = platform
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: URL,
        *,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
        status_suffices: bool = False,
    ) -> PlatformAnswer:
        """Make one request, and read the whole answer; with `status_suffices`, its body as far as it comes.

        Raises NotSent when no request was written, Unknown when one was and no answer came, Refused for an address
        that is not allowed. Statuses are the adapter's to judge.
        """
        if json is not None:
            data, headers = msgspec.json.encode(json), {"Content-Type": "application/json", **(headers or {})}
        try:
            async with self.session().request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            ) as response:
                try:
                    body = await _read(response.content, max_bytes)
                except (TimeoutError, aiohttp.ClientError, OSError):
                    if not status_suffices:
                        raise
                    body = b""
                return PlatformAnswer(response.status, response.headers, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise connection_failure(error, self._platform) from error

    async def download(
        self, url: URL, *, headers: Mapping[str, str] | None = None, seconds: float = 120.0
    ) -> AsyncIterator[bytes]:
        """Yield the bytes at a URL. Raises NotSent, Refused for any status but 200, Unknown when it breaks off."""
        try:
            async with self.session().get(
                url,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            ) as response:
                if response.status != 200:
                    raise Refused(f"{self._platform} answered {response.status} to a download")
                async for chunk in response.content.iter_chunked(64 * 1024):
                    yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise connection_failure(error, self._platform) from error

    async def websocket(
        self,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        ping_seconds: float | None = None,
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket, on which a ping is sent after each `ping_seconds` of silence. Raises NotSent, Refused."""
        try:
            return await self.session().ws_connect(
                url,
                headers=headers,
                max_msg_size=max_bytes,
                heartbeat=ping_seconds,
                timeout=aiohttp.ClientWSTimeout(ws_close=5.0),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(
                f"{self._platform} refused the WebSocket with {error.status}", platform_code=str(error.status)
            ) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            failure = connection_failure(error, self._platform)
            raise failure if isinstance(failure, Refused) else NotSent(failure.message) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def session(self) -> aiohttp.ClientSession:
        # Made on first use, as it belongs to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(
                    allow_private=self._network.allow_private, resolver=self._network.resolver, limit=100
                ),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would make the connection whose address is checked here
            )
        return self._session


async def _read(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    """Read a body; of a longer one, nothing."""
    body = bytearray()
    async for chunk in content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > max_bytes:
            return b""
    return bytes(body)


def connection_failure(error: Exception, platform: str) -> DeliveryError:
    """Tell a request that was never written from one that may have arrived."""
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, AddressRefusedError):
            return Refused(f"{platform}'s address is private, and private addresses are not allowed")
        if isinstance(error, aiohttp.ClientSSLError):
            return Refused(f"{platform} could not be reached: its certificate is not valid")
        return NotSent(f"{platform} could not be reached")
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(f"{platform} could not be reached: its URL is not valid")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NotSent(f"{platform} could not be reached in time")
    if isinstance(error, TimeoutError):
        return Unknown(f"{platform} did not answer in time")
    return Unknown(f"{platform} cut the connection before it answered")


def server_failure(answer: PlatformAnswer, platform: str) -> DeliveryError:
    """The outcome of a 5xx that the platform's API does not explain: a gateway may have passed the request on."""
    return Unknown(f"{platform} answered {answer.status}", platform_code=str(answer.status))
