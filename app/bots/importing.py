"""Bots of an AstrBot: the list `platform` of its `cmd_config.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.bots.adapters.base import AdapterFactory

_NOT_SETTINGS = frozenset({"id", "type", "enable", "hint"})


@dataclass(frozen=True, slots=True)
class ImportedBot:
    """A bot as it will be made; `dropped` are settings that have no meaning here, `problem` why it cannot be."""

    id: str
    adapter: str
    enabled: bool
    config: Mapping[str, Any]
    dropped: Sequence[str] = ()
    problem: str | None = None


def bots_of(document: Mapping[str, Any], factories: Sequence[AdapterFactory[Any]]) -> list[ImportedBot]:
    """Read the bots of an AstrBot's configuration. Raises ValueError when it is none."""
    platforms = document.get("platform")
    if not isinstance(platforms, list):
        raise ValueError('it has no list "platform"')  # noqa: TRY004 - of a file that people wrote
    kinds = {factory.name: factory for factory in factories}
    return [_bot_of(entry, kinds) for entry in platforms if isinstance(entry, dict)]


def _bot_of(entry: Mapping[str, Any], kinds: Mapping[str, AdapterFactory[Any]]) -> ImportedBot:
    kind = str(entry.get("type", ""))
    bot_id, enabled = str(entry.get("id", "")), entry.get("enable") is True
    factory = kinds.get(kind)
    if factory is None:
        return ImportedBot(bot_id, kind, enabled, {}, problem=f"there is no kind {kind!r}")
    fields = set(factory.config_type.__struct_encode_fields__)
    given = {name: value for name, value in entry.items() if name not in _NOT_SETTINGS}
    # AstrBot writes an empty text where nothing is set.
    config = {name: value for name, value in given.items() if name in fields and value not in ("", None)}
    dropped = sorted(name for name, value in given.items() if name not in fields and value not in ("", None))
    return ImportedBot(bot_id, kind, enabled, config, dropped)
