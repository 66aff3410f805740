"""The services of an application, found by their class."""

from typing import TypeVar, cast

from quart import Quart, current_app

_SERVICES = "palaver"

T = TypeVar("T")


def provide(app: Quart, service: object) -> None:
    """Make a service available to the views of `app`, under its class."""
    app.extensions.setdefault(_SERVICES, {})[type(service)] = service


def service(kind: type[T]) -> T:
    """The service of that class that the composition root provided."""
    return cast(T, current_app.extensions[_SERVICES][kind])


def service_of(app: Quart, kind: type[T]) -> T:
    """The same for those who know the application, as hooks do: without a look for the present one."""
    return cast(T, app.extensions[_SERVICES][kind])
