"""What a model server is asked, what it sends back piece by piece, and how it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

REQUEST_REFUSED = frozenset({400, 404, 413, 422})
"""A model server's answers that are about the request itself: another model server would give them as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One model server. An empty `models` admits any model; times are in seconds.

    `timeout_seconds` is the silence after which a reply counts as lost, `max_retries` the further tries before the
    first byte of a reply.
    """

    id: str
    base_url: str
    default_model: str
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    timeout_seconds: float = 120.0
    connect_timeout_seconds: float = 10.0
    max_retries: int = 2
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call. `messages` and `params` are in OpenAI's shape and reach the model server as they are.

    `timeout_seconds` and `max_retries` take the place of the provider's. With `keep_raw` each delta holds the event
    that it was made of; without `stream` the reply is asked for in one piece.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None
    max_retries: int | None = None
    stream: bool = True
    keep_raw: bool = False


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens, as the model server counted them; the cached ones are among the prompt's."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the call at `index`: id and name come once, the JSON text of the arguments in any number of pieces."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What one event of the stream added to the reply. A struct of msgspec: made in a tenth of a dataclass's time."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: bytes | None = None

    @property
    def says_something(self) -> bool:
        """Whether the reply has begun with it; an empty beginning, usage and the like can still be taken back."""
        return bool(self.text or self.reasoning or self.tool_calls or self.finish_reason)


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """OpenAI's error object."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


class UpstreamError(Exception):
    """A model server did not do its part.

    `message` may be shown to anyone. `detail` is what really happened, with the server's own words but without its
    key: for the log only. `status` is the server's HTTP status, if it sent one, and `retry_after` the seconds after
    which it wants to be asked again; `silent` says that it did not answer in time. `refusal` is its own account of a
    request that it does not accept, in OpenAI's shape, for callers who wrote that request themselves.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: str = "",
        retry_after: float | None = None,
        silent: bool = False,
        refusal: "Refusal | None" = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.silent = silent
        self.refusal = refusal

    @property
    def gateway_status(self) -> int:
        """The HTTP status that tells a caller of Palaver whose fault it was."""
        if self.status in REQUEST_REFUSED or self.status == 429:
            return self.status
        if self.silent or self.status in (408, 504):
            return 504
        return 503 if self.status == 503 else 502
