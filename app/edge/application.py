"""Quart without what Palaver has no use for, and every request would pay for."""

from collections.abc import Callable
from typing import Any

from quart import Quart
from quart.routing import QuartMap
from quart.sessions import NullSession, SessionInterface
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter


class NoSessions(SessionInterface):
    """Callers show a key with each request: there are no cookies to look for."""

    def __init__(self) -> None:
        self._none = NullSession()

    async def open_session(self, app: Quart, request: BaseRequestWebsocket) -> NullSession:
        return self._none


class AnyHostMap(QuartMap):
    """Rules that hold under every name the server is reached by: `Host` need not be understood to find one."""

    def bind_to_request(
        self, request: BaseRequestWebsocket, subdomain: str | None, server_name: str | None
    ) -> MapAdapter:
        return MapAdapter(
            self,
            server_name or "",  # stands in redirects only, of which there are none
            request.root_path,
            subdomain or self.default_subdomain,
            request.scheme,
            request.path,
            request.method,
        )


class Application(Quart):
    """A Quart application for many small requests."""

    session_interface = NoSessions()  # type: ignore[assignment]  # Quart does not say which type it may have
    url_map_class = AnyHostMap

    def __init__(self, import_name: str) -> None:
        self._coroutine_functions: set[Callable[..., Any]] = set()
        super().__init__(import_name, static_folder=None)
        self.url_map.merge_slashes = False  # ids may hold two slashes, and no path is answered with a redirect

    def ensure_async(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As Quart does, which looks at every hook and view of every request anew."""
        if func in self._coroutine_functions:
            return func
        ensured: Callable[..., Any] = super().ensure_async(func)
        if ensured is func:
            self._coroutine_functions.add(func)
        return ensured
