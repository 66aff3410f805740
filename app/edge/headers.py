"""The headers of a request: many looks, many of them for what is not there, and no changes."""

from collections.abc import Callable
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.datastructures.mixins import ImmutableHeadersMixin
from werkzeug.exceptions import BadRequestKeyError


class ReceivedHeaders(ImmutableHeadersMixin, Headers):  # type: ignore[misc]  # as werkzeug's own EnvironHeaders
    """Finds a header at once; werkzeug's look goes through all, and raises and catches an error if there is none."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self._list = pairs
        self._first = {name.lower(): value for name, value in reversed(pairs)}

    def get(  # type: ignore[override]  # werkzeug's overloads
        self,
        key: str,
        default: Any = None,
        type: Callable[[str], Any] | None = None,  # noqa: A002
    ) -> Any:
        if type is None:
            return self._first.get(key.lower(), default)
        return super().get(key, default, type)

    def _get_key(self, key: str) -> str:
        try:
            return self._first[key.lower()]
        except KeyError:
            raise BadRequestKeyError(key) from None
