"""The services of an application, found by their class."""

from typing import TypeVar, cast

from quart import Quart, current_app

_SERVICES = "palaver"

T = TypeVar("T")


def provide(app: Quart, service: object) -> None:
    """Make a service available to the views of `app`, under its class."""
    app.extensions.setdefault(_SERVICES, {})[type(service)] = service


def service(kind: type[T]) -> T:
    """The service of that class, as the composition root provided it."""
    return cast(T, current_app.extensions[_SERVICES][kind])
