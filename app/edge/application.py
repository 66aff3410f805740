"""The Quart application, of which every door is a blueprint."""

from quart import Quart
from quart.routing import QuartMap
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter

from app.edge.backpressure import BoundedConnection, BoundedRequest


class AnyHostMap(QuartMap):
    """Routes for any `Host`. Quart answers an invalid one with a 500, before the first hook runs."""

    def bind_to_request(
        self, request: BaseRequestWebsocket, subdomain: str | None, server_name: str | None
    ) -> MapAdapter:
        return self.bind("localhost", request.root_path, subdomain, request.scheme, request.method, request.path)


class Application(Quart):
    """Quart with back-pressure for request bodies, and without its limits of a body's size and a response's time."""

    request_class = BoundedRequest
    asgi_http_class = BoundedConnection
    url_map_class = AnyHostMap

    def __init__(self, import_name: str) -> None:
        super().__init__(import_name, static_folder=None)
        self.config["MAX_CONTENT_LENGTH"] = None
        self.config["RESPONSE_TIMEOUT"] = None
        self.url_map.merge_slashes = False  # ids may hold two slashes, and no path is answered with a redirect
