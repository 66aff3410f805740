"""Requests to model servers, the deltas of their replies, and their errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.providers.image_refusals import ImageProblem

REQUEST_REFUSED = frozenset({400, 404, 413, 422})
"""Statuses for a fault of the request: another model server would refuse it as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One model server. An empty `models` admits any model; times are in seconds.

    A reply counts as lost after `timeout_seconds` of silence. `max_retries` is the number of further tries before the
    first byte of a reply. `public_only` keeps its address out of the networks of the host.
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
    public_only: bool = False


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call. `messages` and `params` are in OpenAI's shape and reach the model server as they are.

    `defaults` names the params that nobody asked for: they are taken back if the model does not support them.
    `timeout_seconds` and `max_retries` override the provider's. With `keep_raw` each delta holds the event that it was
    made from. Without `stream` the model server sends the reply in one piece.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None
    max_retries: int | None = None
    stream: bool = True
    keep_raw: bool = False
    defaults: frozenset[str] = frozenset()


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts of the model server; `prompt_tokens` includes `cached_tokens`."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the call at `index`: id and name come once, the JSON of the arguments in any number of pieces.

    Not all model servers number their calls.
    """

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Delta(msgspec.Struct, frozen=True, gc=False):
    """The contribution of one event of the stream to the reply."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: bytes | None = None

    @property
    def says_something(self) -> bool:
        """Whether the delta has content of the reply, not only usage or an empty text."""
        return bool(self.text or self.reasoning or self.tool_calls or self.finish_reason)


class ErrorObject(msgspec.Struct, frozen=True, gc=False):
    """OpenAI's error object."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


class UpstreamError(Exception):
    """The failure of a model server.

    `message` may be shown to anyone. `detail` is for the log only: the cause, with the server's own words but without
    its key. `status` is the server's HTTP status, if it sent one, and `retry_after` the seconds to wait before another
    request; `silent` means that it did not answer in time. `refusal` is the server's error object for a request that
    it does not accept, for callers who wrote that request themselves. `image_problem` is what its words say of images.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: str = "",
        retry_after: float | None = None,
        silent: bool = False,
        refusal: ErrorObject | None = None,
        image_problem: ImageProblem | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.silent = silent
        self.refusal = refusal
        self.image_problem = image_problem

    @property
    def gateway_status(self) -> int:
        """The HTTP status of Palaver's own answer."""
        if self.status in REQUEST_REFUSED or self.status == 429:
            return self.status
        if self.silent or self.status in (408, 504):
            return 504
        return 503 if self.status == 503 else 502
