"""The dashboard at `/dashboard`: its page and its files, which know only the public API."""

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from posixpath import dirname, join, normpath
from typing import Final

from quart import Blueprint, Response

from app.edge.operation import Answer, Param, refusal
from app.edge.services import service
from app.errors import NotFound
from app.ops.assets import TYPES, File, checked_response, immutable_response
from app.ops.health import ops_operation

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE: Final = "index.html"
ENTRIES: Final = ("main.js", "chat/chat_page.js")
"""What runs first, and the area that is open at first: what they need is fetched at once, not import by import."""
_IMPORT: Final = re.compile(r"""(?:^|;)(?:import|export)\b[^;'"()]*["'](\./|\.\./)([^'"]+)["']""", re.MULTILINE)

blueprint = Blueprint("dashboard", __name__)


@dataclass(frozen=True, slots=True)
class Files:
    """The page, and the files below its `version`: with another content they have another address."""

    page: File
    version: str
    assets: Mapping[str, File]


class Dashboard:
    """Reads and compresses the dashboard's files when it is first asked for, once, in a thread."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._files: Files | None = None

    async def files(self) -> Files:
        async with self._lock:
            if self._files is None:
                self._files = await asyncio.to_thread(_read_files)
            return self._files


@blueprint.get("/dashboard")
@ops_operation(
    "getDashboard",
    "The dashboard",
    description="A page to chat with and to manage the server by, made of this API alone. It needs no other host.",
    answers={
        200: Answer("The page", {"type": "string"}, "<!doctype html>...", media_type="text/html"),
        304: Answer("It has not changed", headers={"ETag": "Its version."}),
    },
)
async def dashboard() -> Response:
    response = await checked_response((await service(Dashboard).files()).page, "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


@blueprint.get("/dashboard/assets/<string:version>/<path:file>")
@ops_operation(
    "getDashboardAsset",
    "Part of the dashboard",
    description="The dashboard's scripts and styles, to be kept for a year: `version` changes with their content.",
    params=[
        Param("version", "The version that the page names.", {"type": "string"}, where="path"),
        Param("file", "The file's path.", {"type": "string"}, where="path"),
    ],
    answers={200: Answer("The file", {"type": "string", "format": "binary"}, media_type="*/*")},
    errors={404: refusal("No such path", "not_found")},
)
async def dashboard_asset(version: str, file: str) -> Response:
    served = await service(Dashboard).files()
    content = served.assets.get(file)
    if content is None or version != served.version:
        raise NotFound("No such path")
    return immutable_response(content, file)


def _read_files() -> Files:
    contents = dict(_walk(files("app") / "static" / "dashboard"))
    page = contents.pop(PAGE).decode()
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    version = digest.hexdigest()[:16]
    preloads = "".join(
        f'    <link rel="modulepreload" href="dashboard/assets/{version}/{name}">\n'
        for name in imports(contents, ENTRIES)
    )
    page = page.replace("    <!-- modules -->\n", preloads).replace("@VERSION@", version)
    return Files(File.of(page.encode()), version, {name: File.of(content) for name, content in contents.items()})


def imports(contents: Mapping[str, bytes], entries: Sequence[str]) -> list[str]:
    """The modules that the entries need before they run, themselves first."""
    names = [*entries]
    for name in names:
        for dots, path in _IMPORT.findall(contents[name].decode()):
            target = normpath(join(dirname(name), dots + path))
            if target not in names:
                names.append(target)
    return names


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name == PAGE or entry.name.rpartition(".")[2] in TYPES:
            yield prefix + entry.name, entry.read_bytes()
