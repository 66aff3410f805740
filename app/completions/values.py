"""Requests for completions, and their limits and policy, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.chat.commands import OnBusy, RetrievalOptions

MessageParam = dict[str, Any]
"""A message as a client of OpenAI's API sends it."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """The session of requests without a session's name; they are stateless if `default_session` is empty."""

    default_session: str = "api:default"
    require_session_key: bool = False


@dataclass(frozen=True, slots=True)
class CompletionLimits:
    """The largest request body, files included."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request. `session` is the session's name, None for a stateless request.

    `messages` are what is new in the session, or, stateless, all of them; in a session, `system` stands apart.
    `params` reach the model server as they are; `role` is a role's id or name.
    """

    session: str | None
    messages: Sequence[MessageParam]
    system: Sequence[MessageParam]
    params: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The door's own parameters, for what neither the request nor a chosen profile specifies."""
    model: str | None = None
    stream: bool = False
    on_busy: OnBusy = OnBusy.QUEUE
    role: str | None = None
    knowledge: RetrievalOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        options = self.params.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True
