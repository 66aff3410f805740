"""Profiles, read from files that a person may edit at any time.

Each use of a profile makes one `stat` of its file, and reads it again when it has changed: an edit counts from the next
message on, with no watcher that could miss it. A file that cannot be used keeps its last good version.
"""

import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from msgspec import structs

from app.errors import BadRequest
from app.profiles.models import Profile, ProfileFile
from app.written import decode_utf8

DEFAULT_ID = "default"
SUFFIX = ".toml"
DEFAULT_FILE = """\
# The default profile: how the bot answers when a session chose no other.
# Edits count from the next message on. Copy this file to make another profile: its id is the file's name.

name = "default"
system_prompt = "You are a helpful assistant."

# provider = "openai_chat_completion"   # a provider's id; the first one if unset
# model = "gpt-4.1-mini"                # the provider's default model if unset
# timeout_seconds = 120                 # silence after which a reply counts as lost
# max_retries = 2                       # further tries of a provider before the first token
# fallbacks = ["backup"]                # providers that are asked when the first one fails before its first token

# role = "guide"                        # a role's id or name; its system prompt takes over

[parameters]                            # sent to the model server as they are
# temperature = 0.7
# max_tokens = 2000

[history]                               # how much of the conversation the model is shown
max_messages = 50
max_tokens = 16000                      # approximate

[knowledge]
# search = true                         # search the knowledge base for each message
# collections = ["handbook"]            # ids or names; all that the user may see if unset
# passages = 5                          # how many the model is shown at most
# embedding_model = "text-embedding-3-small"   # of this provider's; for collections that are made with this profile

[tools]                                 # what the model may call; nothing if unset
# use = ["now", "search_knowledge", "fetch_page", "message"]   # names, or patterns such as "weather_*"
# ask = ["message"]                     # calls of these wait for a person's yes
# max_steps = 16                        # then the model answers without tools
# message.targets = ["telegram1:FriendMessage:*"]              # where `message` may write to
"""

log = structlog.get_logger(__name__)


_FALLBACK = Profile(id=DEFAULT_ID, name=DEFAULT_ID)
"""The default profile without its file, when that is gone or broken: the bot still answers."""


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """One file of the folder; `profile` is its last good version, `problem` what is wrong with it now."""

    file: str
    profile: Profile | None
    problem: str | None


class ProfileService:
    """The profiles in `folder`; `default.toml` is written when the folder has none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = str(folder)
        self._cache: dict[str, tuple[tuple[int, int, int], ProfileEntry]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        default = folder / f"{DEFAULT_ID}{SUFFIX}"
        if not default.exists():
            default.write_text(DEFAULT_FILE, encoding="utf-8")

    def get(self, profile_id: str) -> Profile:
        """Raises BadRequest `config_id not found: X`."""
        profile = self.find(profile_id)
        if profile is None:
            raise BadRequest(f"config_id not found: {profile_id}", code="config_not_found")
        return profile

    def find(self, profile_id: str) -> Profile | None:
        return self._refresh(profile_id).profile if is_id(profile_id) else None

    def entry(self, profile_id: str) -> ProfileEntry | None:
        """Return the profile with what is wrong with its file, None for an id that cannot be one."""
        return self._refresh(profile_id) if is_id(profile_id) else None

    def get_by_name(self, name: str) -> Profile:
        """Raises BadRequest for a name that no profile has, or more than one."""
        profiles = [entry.profile for entry in self.entries() if entry.profile and entry.profile.name == name]
        if not profiles:
            raise BadRequest(f"config_name not found: {name}", code="config_not_found")
        if len(profiles) > 1:
            raise BadRequest(f"config_name is ambiguous, please use config_id: {name}", code="config_name_ambiguous")
        return profiles[0]

    def entries(self) -> list[ProfileEntry]:
        """List every file of the folder, the default first, then by name."""
        ids = self._ids()
        for deleted_id in self._cache.keys() - set(ids):
            self._cache.pop(deleted_id, None)  # messages are accepted in a thread, which looks profiles up too
        return [self._refresh(profile_id) for profile_id in ids]

    def digests(self, digest: Callable[[bytes], bytes]) -> dict[str, str]:
        """Return a digest of each profile as it is in force."""
        return {
            f"profile {entry.profile.id}": digest(msgspec.json.encode(entry.profile, order="deterministic")).hex()[:12]
            for entry in self.entries()
            if entry.profile is not None
        }

    def _ids(self) -> Sequence[str]:
        """List the ids of the files, the default first."""
        try:
            names = os.listdir(self._path)  # noqa: PTH208  # with every request, at a fraction of Path.iterdir's cost
        except OSError:
            names = []
        stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
        ids = {stem for stem in stems if is_id(stem)} | {DEFAULT_ID}
        return sorted(ids, key=lambda id: (id != DEFAULT_ID, id))

    def _refresh(self, profile_id: str) -> ProfileEntry:
        """Read the file again if it has changed since it was last read."""
        file = f"{profile_id}{SUFFIX}"
        fallback = _FALLBACK if profile_id == DEFAULT_ID else None
        try:
            status = os.stat(f"{self._path}{os.sep}{file}")  # noqa: PTH116  # at a third of Path.stat's cost
        except OSError:
            self._cache.pop(profile_id, None)
            return ProfileEntry(file, fallback, None)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        cached_stamp, last = self._cache.get(profile_id, (None, ProfileEntry(file, fallback, None)))
        if cached_stamp == stamp:
            return last
        try:
            entry = ProfileEntry(file, _read(self._folder / file, profile_id), None)
        except ValueError as error:
            entry = ProfileEntry(file, last.profile, f"{file}: {error}")
            is_kept = last.profile is not None and last.profile is not fallback
            log.warning("profile_broken", problem=entry.problem, kept_last_good=is_kept)
        self._cache[profile_id] = stamp, entry
        return entry


def _read(path: Path, profile_id: str) -> Profile:
    """Raises ValueError for a file that cannot be used, with the line."""
    try:
        text = decode_utf8(path.read_bytes())
        document = tomllib.loads(text)
    except OSError as error:
        raise ValueError(error.strerror or "the file cannot be read") from None
    try:
        file = msgspec.convert({"name": profile_id, **document}, ProfileFile)
        return Profile(id=profile_id, **structs.asdict(file))
    except msgspec.ValidationError as error:
        raise ValueError(f"{error}{_line_of(text, str(error))}") from None


def _line_of(text: str, problem: str) -> str:
    """Find the line of the key that a validation message names: `(at line N)`, or nothing."""
    key = problem.rsplit(".", 1)[-1].strip("`") if "`$" in problem else problem.split("`")[1] if "`" in problem else ""
    for number, line in enumerate(text.splitlines(), 1):
        if key and line.partition("=")[0].strip() == key:
            return f" (at line {number})"
    return ""


def is_id(text: str) -> bool:
    """Check for what can be a profile's id, and so the name of its file."""
    return (
        0 < len(text) <= 100 and all(character.isalnum() or character in "-_." for character in text) and text[0] != "."
    )
