"""The addresses that requests for others may go to: those of the public internet, unless the operator admits all.

The check stands where the socket is made, after every look-up, so that neither a literal address, nor a name that
changes its answer between check and use, nor several addresses behind one name can go round it.
"""

import asyncio
import ipaddress
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

MAX_URL_CHARS = 2048
# Python 3.11 calls these global: they are not, or may lead into the network of the host.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2002::/16")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefusedError(OSError):
    """An address outside the public internet."""

    def __init__(self) -> None:
        super().__init__("address refused")  # one text for all, so that several refusals are reported as one


def is_public(address: str) -> bool:
    """Check for the address of a host on the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip.is_site_local:
            return False
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    return not any(ip.version == network.version and ip in network for network in _NOT_PUBLIC)


def is_literal(host: str) -> bool:
    """Tell an address from a name in the host of a URL."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_url(text: str, *, allow_private: bool) -> URL:
    """Parse a URL, with the parser that also connects. Raises ValueError; the text goes on after the URL's name.

    The addresses of a name are checked at each connection.
    """
    if len(text) > MAX_URL_CHARS or not text.isprintable() or " " in text:
        raise ValueError(f"must be at most {MAX_URL_CHARS} printable characters without spaces")
    try:
        url = URL(text)
        host, _ = url.host, url.port
        (url.raw_host or "").encode("idna")  # what cannot be looked up: an empty or overlong label
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if url.scheme not in ("http", "https") or not host:
        raise ValueError("must start with http:// or https:// and name a host")
    if url.user is not None or url.password is not None:
        raise ValueError("must not hold a username or password")
    if not allow_private and is_literal(host) and not is_public(host):
        raise ValueError("must not name a private address")
    return url


def connector(
    *, allow_private: bool, resolver: AbstractResolver | None = None, limit: int = 20
) -> aiohttp.TCPConnector:
    """Make a pool of at most `limit` connections, to public addresses only unless `allow_private`.

    A refusal arrives as a ClientConnectorError whose `os_error` is AddressRefusedError.
    """
    return aiohttp.TCPConnector(
        limit=limit, resolver=resolver, use_dns_cache=False, socket_factory=None if allow_private else public_socket
    )


def public_socket(address_info: tuple[Any, ...]) -> socket.socket:
    """Make the socket for an address of the public internet. Raises AddressRefusedError for another one."""
    family, kind, protocol, _, address = address_info
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(address[0]):
        raise AddressRefusedError
    return socket.socket(family=family, type=kind, proto=protocol)


async def open_socket(host: str, port: int, *, allow_private: bool) -> socket.socket:
    """Connect to a host by one of its addresses, public ones only unless `allow_private`. Raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("the name has no address")
    for address_info in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        family, kind, protocol, _, address = address_info
        try:
            made = socket.socket(family, kind, protocol) if allow_private else public_socket(address_info)
            made.setblocking(False)
        except OSError as error:
            failure = error
            continue
        try:
            await loop.sock_connect(made, address)
        except OSError as error:
            made.close()
            failure = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure
