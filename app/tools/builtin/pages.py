"""The tool `fetch_page`."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from app import __version__
from app.egress import AddressRefusedError, connector
from app.files.extraction.reader import DocumentReader
from app.tools.models import CallContext, ToolError, ToolResult, ToolSpec
from app.workers.turns import Caller

MAX_PAGE_BYTES = 2 * 1024**2
MAX_URL_CHARS = 2048
MAX_REDIRECTS = 5
FETCH_SECONDS = 20.0
_ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/plain;q=0.9,*/*;q=0.5"


class PageFetcher:
    """Fetches a page of the public internet, and reads it as attachments are read.

    Each connection is made to a public address only, those of redirections too, unless `allow_private`.
    """

    timeout_seconds = FETCH_SECONDS
    spec = ToolSpec(
        "fetch_page",
        "Fetches a page or document from the internet by its URL, and returns its text as Markdown.",
        {
            "type": "object",
            "properties": {"url": {"type": "string", "maxLength": MAX_URL_CHARS, "description": "An http(s) URL."}},
            "required": ["url"],
            "additionalProperties": False,
        },
    )

    def __init__(
        self, reader: DocumentReader, *, allow_private: bool = False, resolver: AbstractResolver | None = None
    ) -> None:
        self._reader = reader
        self._allow_private = allow_private
        self._resolver = resolver

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        url = _parse(arguments["url"])
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector(allow_private=self._allow_private, resolver=self._resolver),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,  # a proxy would make the connection whose address is checked here
                    headers={"User-Agent": f"Palaver/{__version__}", "Accept": _ACCEPT},
                ) as session,
                session.get(url, max_redirects=MAX_REDIRECTS) as response,
            ):
                if response.status >= 400:
                    raise ToolError(f"The page answered with status {response.status}")
                name = response.url.name or response.url.host or "page"
                caller = Caller(context.key_id, context.username)
                page = await self._reader.read(_bounded(response), name, response.content_type, caller=caller)
        except aiohttp.TooManyRedirects:
            raise ToolError(f"The page redirects more than {MAX_REDIRECTS} times") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise ToolError(_explanation(error)) from None
        return ToolResult("\n".join([page.text, *(f"[{note}]" for note in page.notes)]))


async def _bounded(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_PAGE_BYTES:
            raise ToolError(f"The page has more than {MAX_PAGE_BYTES // 1024**2} MB")
        yield chunk


def _parse(text: str) -> URL:
    try:
        url = URL(text.strip())
        host, _ = url.host, url.port
    except ValueError:
        raise ToolError("This is not a URL") from None
    if url.scheme not in ("http", "https") or not host or url.user is not None or url.password is not None:
        raise ToolError("The URL must begin with http:// or https:// and name a host, without a username")
    return url


def _explanation(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefusedError):
        return "The page is at a private address, which may not be fetched"
    return "The page could not be fetched"
