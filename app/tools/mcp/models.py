"""An MCP server as it is configured and as it is reported, and the table of those that were added over HTTP."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column
from yarl import URL

from app.database.tables import Base, UtcDateTime

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,32}\Z"
MAX_ERROR_CHARS = 500
MIN_SECRET_CHARS = 4
"""A shorter value would be found in ordinary words."""


class Transport(StrEnum):
    STDIO = "stdio"
    STREAMABLE_HTTP = "streamable_http"


class ServerState(StrEnum):
    CONNECTED = "connected"
    CONNECTING = "connecting"
    FAILED = "failed"
    DISABLED = "disabled"


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A server: a command for stdio, a URL for Streamable HTTP.

    `tools` are patterns of the tools to offer, by their own names or by those that models see.
    """

    name: str
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = {}
    connect_timeout_seconds: float = 10.0
    call_timeout_seconds: float = 60.0
    tools: tuple[str, ...] = ("*",)
    allow_private: bool = False
    enabled: bool = True

    def __repr__(self) -> str:
        return f"ServerSpec({self.name!r})"  # the rest may be secret

    @property
    def shown_url(self) -> str | None:
        """The URL without what may be a key: its user and its query."""
        return str(URL(self.url).with_user(None).with_query(None).with_fragment(None)) if self.url else None

    def redacted(self, text: str) -> str:
        """Return the text of an error without the secrets of the server."""
        for secret in sorted(secret_texts(self.env, self.headers, self.url), key=len, reverse=True):
            text = text.replace(secret, "[redacted]")
        return " ".join(text.split())[:MAX_ERROR_CHARS]


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is like now; `error` is the reason for the last failure, `tools` the names that models see."""

    name: str
    transport: Transport
    source: str
    url: str | None
    state: ServerState
    error: str | None
    tools: Sequence[str]


class ServerRow(Base):
    """A server that was added over HTTP. `config` may be shown; `secrets` is its URL and headers, as encrypted JSON."""

    __tablename__ = "mcp_servers"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    secrets: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


def secret_texts(env: Mapping[str, str], headers: Mapping[str, str], url: str) -> set[str]:
    """Return the values of a server that may be secret, long enough to be looked for in a text."""
    texts = {*env.values(), *headers.values()}
    texts |= {value.partition(" ")[2] for value in headers.values()}  # without the word Bearer
    if url:
        parsed = URL(url)
        texts |= {parsed.raw_query_string, parsed.password or "", *parsed.query.values()}
    return {text for text in texts if len(text) >= MIN_SECRET_CHARS}
