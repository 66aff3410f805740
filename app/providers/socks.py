"""Connections through SOCKS proxies; imported where there is one."""

from typing import Any

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

from app.providers.network import SocksProxy


def connector(proxy: SocksProxy, **options: Any) -> aiohttp.TCPConnector:
    """Make a pool of connections through the proxy, which looks names up itself."""
    pool: aiohttp.TCPConnector = ProxyConnector(
        proxy.host,
        proxy.port,
        ProxyType.SOCKS5 if proxy.version == 5 else ProxyType.SOCKS4,
        proxy.username,
        proxy.password,
        rdns=True,
        **options,
    )
    return pool


async def translate_errors(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Raise the proxy's failures as those of any connection."""
    try:
        return await handler(request)
    except ProxyTimeoutError as error:
        raise aiohttp.ConnectionTimeoutError("the SOCKS proxy did not answer in time") from error
    except (ProxyConnectionError, ProxyError) as error:
        raise aiohttp.ClientOSError(f"the SOCKS proxy: {error}") from error
