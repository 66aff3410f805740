"""The scopes of a key."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do: `chat` with its sessions and runs, read the profiles (`config`), upload and download (`file`),
    send messages through bots (`im`), use collections and their documents (`knowledge`), or manage all (`admin`)."""

    CHAT = "chat"
    CONFIG = "config"
    FILE = "file"
    IM = "im"
    KNOWLEDGE = "knowledge"
    ADMIN = "admin"


SEED_SCOPES = frozenset({Scope.CHAT, Scope.CONFIG, Scope.FILE, Scope.IM})
USER_SCOPES = SEED_SCOPES | {Scope.KNOWLEDGE}
"""The scopes that need no administrator."""
