"""Requests for completions, and their limits and policy, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.chat.commands import OnBusy, RetrievalOptions

MessageParam = dict[str, Any]
"""A message as a client of OpenAI's API sends it."""


DEFAULT_SESSION = "api:default"
"""The name of the default session, unless the operator chooses another."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """The default session, of requests that name none: its name for all keys, empty for none.

    With None, keys that are bound to a user have DEFAULT_SESSION. A key for many people has none, which would show the
    words of one to the next.
    """

    default_session: str | None = None
    require_session_key: bool = False

    def default_session_of(self, username: str | None) -> str:
        """Return the name for a key bound to `username` (None: to nobody); empty for no default session."""
        if self.default_session is None:
            return "" if username is None else DEFAULT_SESSION
        return self.default_session


@dataclass(frozen=True, slots=True)
class NamePolicy:
    """What other names for models mean: `aliases` by their names, and whether all others mean the default model."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    unknown_is_default: bool = False


@dataclass(frozen=True, slots=True)
class CompletionLimits:
    """The largest request body, files included."""

    body_bytes: int


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request. `session` is the session's name, None for a stateless request.

    `messages` are what is new in the session, or, stateless, all of them; in a session, `system` stands apart.
    `params` reach the model server as they are; `role` is a role's id or name. `stateless_if_busy` is of a request in
    the default session.
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
    tools: tuple[str, ...] | None = None
    shows_tools: bool = False
    """Whether the server's own calls of tools are shown, in a member of their own."""
    stateless_if_busy: bool = False

    def without_session(self) -> "CompletionRequest":
        """Return the stateless form of a request in the default session, which has no history of its own."""
        return replace(self, session=None, messages=[*self.system, *self.messages], system=())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        options = self.params.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True
