"""A tool, its call and its result, as values, and the interface that tools implement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from app.files.models import Attachment
from app.knowledge.models import FoundPassage

MAX_RESULT_CHARS = 16_000
MAX_NAME_CHARS = 64
MAX_TOOLS = 128
"""The most tools that a model is offered in one request."""


class CallStatus(StrEnum):
    """How a call ended. `REFUSED` was not carried out; `INTERRUPTED` may have been."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"


class ToolSpec(msgspec.Struct, frozen=True):
    """The description of a tool for the model; `parameters` is a JSON Schema, `server` the MCP server that has it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    server: str | None = None

    def for_model(self) -> dict[str, Any]:
        """Return the tool in OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class CallContext:
    """The reply that a call is part of. `key` identifies the call: a tool that sends something sends it once for it.

    `collections` are the ids or names that the profile limits knowledge to, `targets` the patterns of umos that
    messages may go to.
    """

    key: str
    username: str
    key_id: str
    collections: Sequence[str] = ()
    targets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answers: text for the model, files for the user, passages to refer to."""

    text: str
    status: CallStatus = CallStatus.OK
    files: Sequence[Attachment] = ()
    passages: Sequence[FoundPassage] = ()


class ToolError(Exception):
    """A call that a tool could not carry out; the text is for the model."""


class Tool(Protocol):
    """One tool. A call that takes longer than `timeout_seconds` is cancelled."""

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        """Carry out a call whose arguments follow the schema. Raises ToolError, AppError."""


class ToolPolicy(msgspec.Struct, frozen=True):
    """Which tools a reply may use: those that every group of patterns admits.

    The first group is the profile's; a role and a request add groups of their own, so that each can only narrow.
    `ask` are the patterns of tools whose calls wait for approval.
    """

    groups: tuple[tuple[str, ...], ...]
    ask: tuple[str, ...] = ()
    max_steps: int = 16
    targets: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    def admits(self, name: str) -> bool:
        return all(matches(name, patterns) for patterns in self.groups)

    def asks(self, name: str) -> bool:
        """Whether a call of the tool waits for approval."""
        return matches(name, self.ask)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns, in the shell's form, matches the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
