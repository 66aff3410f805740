"""Editing profiles over HTTP. The files stay the truth: a person may edit them at the same time.

Each change names the version that it was made from by the file's ETag, and is refused when the file has another one by
now. A file is replaced whole, by a rename, so that nobody reads half of it.
"""

import asyncio
import hashlib
import os
import secrets
import tomllib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from filelock import FileLock

from app.database.errors import DatabaseUnavailable
from app.errors import BadRequest, Conflict, NotFound, PreconditionFailed, Unavailable
from app.profiles.documents import edited, patched, values_of
from app.profiles.models import Profile, ProfileFile
from app.profiles.service import DEFAULT_ID, SUFFIX, ProfileService, is_id
from app.written import decode_utf8

MAX_FILE_BYTES: Final = 1024**2
ANY_VERSION: Final = "*"
RESERVED_ID: Final = "schema"
"""What stands in the place of an id in a route's path."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Version:
    """A profile's file as it is now: its values (of the last good version, if `problem` says that it is broken)."""

    id: str
    profile: Profile
    etag: str
    problem: str | None


class ProfileEditor:
    """Creates, changes, renames and deletes the files in `folder`; `provider_ids` are those that a profile may name.

    `follow` is called with the old id and the new one of a profile that is being renamed.
    """

    def __init__(
        self,
        folder: Path,
        profiles: ProfileService,
        provider_ids: Callable[[], Collection[str]],
        follow: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._folder = folder
        self._profiles = profiles
        self._provider_ids = provider_ids
        self._follow = follow
        self._lock = FileLock(folder / ".editing.lock", timeout=10)

    async def list_versions(self) -> list[Version]:
        """List the profiles, the default first."""
        return await asyncio.to_thread(
            lambda: [self._version(entry.profile.id) for entry in self._profiles.entries() if entry.profile is not None]
        )

    async def get(self, id: str) -> Version:
        """Raises NotFound."""
        return await asyncio.to_thread(self._version, id)

    async def create(self, id: str, values: Mapping[str, Any]) -> Version:
        """Raises BadRequest for values that make no profile, Conflict for an id that there is."""
        if not is_id(id) or id == RESERVED_ID:
            raise BadRequest("id must be 1 to 100 letters, digits, -, _ or .", code="invalid_profile")

        def create() -> Version:
            if self._path(id).exists():
                raise Conflict(f"There is a profile with this id: {id}", code="config_exists")
            self._check(id, values)
            self._write(id, edited("", values))
            return self._version(id)

        return await self._edit(create)

    async def replace(self, id: str, values: Mapping[str, Any], etag: str) -> Version:
        """Raises NotFound, BadRequest, PreconditionFailed."""

        def replace() -> Version:
            text = self._text(id, etag)
            self._check(id, values)
            self._write(id, edited(text, values))
            return self._version(id)

        return await self._edit(replace)

    async def change(self, id: str, changes: Mapping[str, Any], etag: str) -> Version:
        """Change some members of the file; null takes one away. Raises NotFound, BadRequest, PreconditionFailed."""

        def change() -> Version:
            text = self._text(id, etag)
            try:
                values = patched(tomllib.loads(text), changes)
            except ValueError:
                raise Conflict("The file is broken: replace it", code="config_broken") from None
            self._check(id, values)
            self._write(id, edited(text, values))
            return self._version(id)

        return await self._edit(change)

    async def rename(self, id: str, new_id: str, etag: str) -> Version:
        """Raises NotFound, BadRequest, Conflict for the default profile and an id that there is, PreconditionFailed,
        Unavailable.
        """
        if not is_id(new_id) or new_id == RESERVED_ID:
            raise BadRequest("id must be 1 to 100 letters, digits, -, _ or .", code="invalid_profile")
        _check_not_default(id)

        def copy() -> tuple[Version, str]:
            text = self._text(id, etag)
            if self._path(new_id).exists():
                raise Conflict(f"There is a profile with this id: {new_id}", code="config_exists")
            # Without a name of its own it is called by its id, which must not change what it is called.
            self._write(new_id, text if "name" in _loads(text) else edited(text, {"name": id, **_loads(text)}))
            return self._version(new_id), _etag(self._read(id))

        def take_away(id: str, etag: str) -> None:
            self._text(id, etag)
            self._path(id).unlink()

        version, copied = await self._edit(copy)
        # There are both files until what names the profile has followed, and for good where that is not known.
        try:
            await self._follow(id, new_id)
        except DatabaseUnavailable as error:
            if error.is_certain:
                await self._edit(lambda: take_away(new_id, version.etag))
            raise
        await self._edit(lambda: take_away(id, copied))
        return version

    async def delete(self, id: str, etag: str) -> None:
        """Raises NotFound, Conflict for the default profile, PreconditionFailed."""
        _check_not_default(id)

        def delete() -> None:
            self._text(id, etag)
            self._path(id).unlink()

        await self._edit(delete)

    def problems(self, id: str, values: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with a profile's values."""
        try:
            self._check(id, values)
        except BadRequest as error:
            return [error.message]
        return []

    async def _edit(self, act: Callable[[], T]) -> T:
        """Make a change in a thread, one at a time on this folder. Raises Unavailable for a folder that is none."""

        def locked() -> T:
            with self._lock:
                return act()

        try:
            return await asyncio.to_thread(locked)
        except (OSError, TimeoutError) as error:
            raise Unavailable("The profiles cannot be written at the moment", code="storage_unavailable") from error

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}{SUFFIX}"

    def _version(self, id: str) -> Version:
        entry = self._profiles.entry(id)
        if entry is None or entry.profile is None:
            raise NotFound(f"config_id not found: {id}", code="config_not_found")
        return Version(id, entry.profile, _etag(self._read(id)), entry.problem)

    def _read(self, id: str) -> bytes:
        """Return the file's content; nothing for the default profile without its file."""
        try:
            return self._path(id).read_bytes()
        except FileNotFoundError:
            return b""

    def _text(self, id: str, etag: str) -> str:
        """Return the text of the version that a change was made from. Raises NotFound, PreconditionFailed."""
        if not is_id(id) or (id != DEFAULT_ID and not self._path(id).exists()):
            raise NotFound(f"config_id not found: {id}", code="config_not_found")
        data = self._read(id)
        if etag not in (ANY_VERSION, _etag(data)):
            raise PreconditionFailed("The profile has been changed meanwhile: read it again")
        try:
            return decode_utf8(data)
        except ValueError:
            return ""

    def _check(self, id: str, values: Mapping[str, Any]) -> None:
        """Raises BadRequest, which names the member at fault."""
        given = {name: value for name, value in values.items() if value is not None}
        try:
            file = msgspec.convert({"name": id, **given}, ProfileFile)
        except msgspec.ValidationError as error:
            raise BadRequest(str(error), code="invalid_profile") from None
        known = self._provider_ids()
        for provider in (file.provider, *file.fallbacks):
            if provider is not None and provider not in known:
                raise BadRequest(f"provider not found: {provider}", code="invalid_profile")

    def _write(self, id: str, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MAX_FILE_BYTES:
            raise BadRequest(f"A profile has at most {MAX_FILE_BYTES} bytes", code="invalid_profile")
        path = self._path(id)
        draft = path.with_name(f".{id[:80]}.{secrets.token_hex(8)}")
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def values_of_version(version: Version) -> dict[str, Any]:
    """Return what a profile looks like over HTTP."""
    return {"id": version.id, **values_of(version.profile), "problem": version.problem}


def _loads(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError:
        return {"name": None}


def _check_not_default(id: str) -> None:
    if id == DEFAULT_ID:
        raise Conflict("The default profile can be neither renamed nor deleted", code="config_is_default")


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
