"""The network around the server, as the environment describes it: proxies and certificate authorities.

What cannot be used is left out with one warning that names the variable: a desktop sets these for all programs, and
most of them are none of Palaver's business.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies

import httpx2
import structlog

from app.written import cut, decode_utf8

HTTP_SCHEMES: Final = ("http", "https")
SOCKS_VERSIONS: Final = {"socks": 5, "socks5": 5, "socks5h": 5, "socks4": 4, "socks4a": 4}
SOCKS_PORT: Final = 1080
_BRACKETS: Final = re.compile(r"^\[(.*)\](:\d+)?$")
_NAME_DECORATION: Final = re.compile(r"^\*?\.|:\d+$")  # of `*.example.com:443`
AUTHORITY_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A proxy that speaks HTTP."""

    url: str


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """A proxy that speaks SOCKS; it looks names up itself."""

    version: int
    host: str
    port: int
    username: str | None
    password: str | None


Proxy = HttpProxy | SocksProxy


class Network:
    """The proxies and the certificate authorities of the environment, read once."""

    def __init__(self) -> None:
        self.ssl_context = _ssl_context(os.environ)
        values = getproxies()
        self._proxies = dict(_proxies(values))
        exceptions = [each for each in re.split(r"[\s,;]+", cut(values.get("no", "")).lower()) if each]
        self._names = {_NAME_DECORATION.sub("", each) for each in exceptions}
        self._networks = tuple(_networks(exceptions))
        self.proxy_for = lru_cache(maxsize=256)(self._proxy_for)
        """The proxy for a scheme and a host, None for none. Loopback is never reached through one."""

    def _proxy_for(self, scheme: str, host: str) -> Proxy | None:
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        if proxy is not None and self._is_direct(host):
            log.info("proxy_not_asked", host=host)
            return None
        return proxy

    def _is_direct(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            labels = host.split(".")
            names = {".".join(labels[start:]) for start in range(len(labels))}
            return labels[-1] == "localhost" or not self._names.isdisjoint({"*", *names})
        is_named = not self._names.isdisjoint({"*", host})
        return address.is_loopback or is_named or any(address in network for network in self._networks)


def _proxies(values: Mapping[str, str]) -> Iterator[tuple[str, Proxy]]:
    for scheme in (*HTTP_SCHEMES, "all"):
        if value := cut(values.get(scheme, "")):
            try:
                yield scheme, _proxy(value)
            except ValueError as error:
                # The value is not logged: it may hold a password.
                log.warning("proxy_ignored", variable=_variable(f"{scheme}_proxy"), problem=str(error))


def _proxy(value: str) -> Proxy:
    """Parse a proxy's address; without a scheme it speaks HTTP. Raises ValueError."""
    url = value if "://" in value else f"http://{value}"
    parts = urlsplit(url)
    port = _port(parts)
    if not parts.hostname:
        raise ValueError("the address has no host")
    if parts.scheme in HTTP_SCHEMES:
        return HttpProxy(url)
    version = SOCKS_VERSIONS.get(parts.scheme)
    if version is None:
        raise ValueError(f"{parts.scheme}:// is not spoken to proxies: http://, https:// and socks5:// are")
    username, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return SocksProxy(version, parts.hostname, port or SOCKS_PORT, username, password)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise ValueError("the port in the address is not a number below 65536") from None


def _networks(exceptions: Iterable[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The addresses and networks among the exceptions."""
    for exception in exceptions:
        try:
            yield ipaddress.ip_network(_BRACKETS.sub(r"\1", exception), strict=False)
        except ValueError:
            continue  # a name


def _variable(name: str) -> str:
    """The name of a variable, in the case in which it is set."""
    return next((each for each in os.environ if each.lower() == name), name)


def _ssl_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Trust the authorities that the first usable variable names, and the system's without one."""
    for variable in AUTHORITY_VARIABLES:
        if place := cut(environ.get(variable, "")):
            try:
                return _trusting(place)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                log.warning("certificate_authorities_ignored", variable=variable, file=place, problem=reason)
    return httpx2.create_ssl_context(trust_env=False)


def _trusting(place: str) -> ssl.SSLContext:
    """Trust the authorities in a file, or in folders as OpenSSL keeps them. Raises OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    folders = place.split(os.pathsep)
    if any(Path(folder).is_dir() for folder in folders):
        for folder in folders:
            context.load_verify_locations(capath=folder)
        return context
    content = Path(place).read_bytes()
    try:
        context.load_verify_locations(cafile=place)
    except ssl.SSLError:
        # OpenSSL finds no certificate behind a byte order mark.
        try:
            context.load_verify_locations(cadata=decode_utf8(content).encode("ascii", "ignore").decode())
        except (ssl.SSLError, ValueError):
            raise ValueError("there is no certificate in PEM form in it") from None
    return context
