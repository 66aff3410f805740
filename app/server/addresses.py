"""The addresses that a server listens on."""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.server.options import BACKLOG, CannotServe


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a host; `target` is what `bind` takes."""

    family: int
    target: tuple[Any, ...]

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(str(self.target[0]).partition("%")[0]).is_loopback


def resolve(host: str, port: int) -> list[Address]:
    """Every address to listen on. Raises CannotServe for an unknown name."""
    if not host.strip():
        raise CannotServe("The host is empty; 0.0.0.0 listens on all addresses")
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotServe(f"Cannot listen on {host}: no such host") from None
    return list(dict.fromkeys(Address(family, target) for family, _, _, _, target in infos))


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """Open a listening socket for each address, all on one port. Raises CannotServe when none can be had.

    An address of a family that this machine lacks is left out if another can be had: `localhost` also stands for an
    IPv6 address, and many containers have no IPv6.
    """
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    for address in addresses:
        host, port, *rest = address.target
        if port == 0 and sockets:
            port = sockets[0].getsockname()[1]
        try:
            sockets.append(_listen(address.family, (host, port, *rest)))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(addresses) > 1:
                unavailable = error
                continue
            for listener in sockets:
                listener.close()
            raise CannotServe(_reason(host, port, error)) from error
    if not sockets:
        host, port = addresses[0].target[:2]
        raise CannotServe(_reason(host, port, unavailable or OSError())) from unavailable
    return sockets


def local_url(host: str, listener: socket.socket) -> str:
    """The server's URL on this machine: a socket on all addresses is on loopback too."""
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(family: int, target: tuple[Any, ...]) -> socket.socket:
    # Listening before the application is built shows at once that a port is in use.
    return socket.create_server(
        target, family=family, backlog=BACKLOG, dualstack_ipv6=target[0] == "::" and socket.has_dualstack_ipv6()
    )


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop what listens there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"Not allowed to listen on port {port} of {host}: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"Cannot listen on {host}: not an address of this machine"
    return f"Cannot listen on {host}, port {port}: {error.strerror}"
