"""A profile's file as a document that people and programs edit: what a program changes leaves the comments standing."""

import tomllib
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from app.profiles.models import ProfileFile


def values_of(profile: ProfileFile) -> dict[str, Any]:
    """Return all fields of a profile, as JSON has them."""
    fields = {name: getattr(profile, name) for name in ProfileFile.__struct_fields__}
    values: dict[str, Any] = msgspec.to_builtins(fields)
    return values


def edited(text: str, values: Mapping[str, Any]) -> str:
    """Return a file's text with these values and no others; what stays the same stays as it was written.

    A value of None stands for one that is not there, which TOML has no word for.
    """
    wanted = _without_null(values)
    try:
        document = tomlkit.parse(text)
        _merge(document, wanted)
        result = tomlkit.dumps(document)
        if tomllib.loads(result) == wanted:
            return result
    except (TOMLKitError, ValueError, TypeError, KeyError):
        pass
    return tomlkit.dumps(wanted)  # a file that nothing could read is written anew


def patched(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with changes (JSON Merge Patch): null takes a member away."""
    result = dict(values)
    for name, change in changes.items():
        if change is None:
            result.pop(name, None)
        elif isinstance(change, Mapping):
            current = result.get(name)
            result[name] = patched(current if isinstance(current, Mapping) else {}, change)
        else:
            result[name] = change
    return result


def _merge(container: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    for name in [name for name in container if name not in values]:
        del container[name]
    for name, value in values.items():
        current = container.get(name)
        if isinstance(value, Mapping) and isinstance(current, MutableMapping):
            _merge(current, value)
        elif name not in container or _plain(current) != value:
            container[name] = value


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _without_null(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_null(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }
