"""The scopes of a key."""

from enum import StrEnum


class Scope(StrEnum):
    """`CHAT` to `IM` are the seed's scopes; `KNOWLEDGE` is for collections and their documents, `ADMIN` manages keys,
    bots and the like."""

    CHAT = "chat"
    CONFIG = "config"
    FILE = "file"
    IM = "im"
    KNOWLEDGE = "knowledge"
    ADMIN = "admin"


SEED_SCOPES = frozenset({Scope.CHAT, Scope.CONFIG, Scope.FILE, Scope.IM})
USER_SCOPES = SEED_SCOPES | {Scope.KNOWLEDGE}
"""The scopes that need no administrator."""
