"""Results of MCP servers as results of tools: texts for the model, and files for the user."""

import asyncio
import base64
import binascii
import mimetypes
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
)

from app.auth.models import Principal
from app.errors import AppError
from app.files.models import Attachment
from app.files.service import FileService
from app.tools.models import CallContext, CallStatus, ToolResult

MAX_FILES: Final = 16
BLOCK_BYTES: Final = 256 * 1024


class _File(NamedTuple):
    name: str
    data: str


async def tool_result(result: CallToolResult, files: FileService, context: CallContext) -> ToolResult:
    """Return the result; its images, sounds and blobs become attachments of the user whose reply it is."""
    texts: list[str] = []
    attachments: list[Attachment] = []
    for block in result.content:
        content = _text_or_file(block)
        if isinstance(content, str):
            texts.append(content)
        elif len(attachments) == MAX_FILES:
            texts.append(f"[file left out: more than {MAX_FILES}]")
        else:
            saved = await _save(content, files, context)
            if isinstance(saved, str):
                texts.append(saved)
            else:
                attachments.append(saved)
                texts.append(f"[{saved.type.value} shown to the user: {saved.filename}]")
    if (structured := _structured_text(result, texts)) is not None:
        texts.append(structured)
    status = CallStatus.FAILED if result.is_error else CallStatus.OK
    return ToolResult("\n".join(texts), status, files=attachments)


def _text_or_file(block: ContentBlock) -> str | _File:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ImageContent | AudioContent):
        return _File(f"{block.type}{_suffix(block.mime_type)}", block.data)
    if isinstance(block, ResourceLink):
        return " ".join(filter(None, (f"[{block.title or block.name}]({block.uri})", block.description)))
    resource = block.resource
    if isinstance(resource, BlobResourceContents):
        name = _name_in(resource.uri)
        suffix = "" if PurePosixPath(name).suffix else _suffix(resource.mime_type)
        return _File(f"{name or 'file'}{suffix}", resource.blob)
    return resource.text


def _name_in(uri: str) -> str:
    """Return the name at the end of a URI, if it has one."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    return "" if parts.scheme == "data" else unquote(PurePosixPath(parts.path).name)


def _suffix(mime_type: str | None) -> str:
    return mimetypes.guess_extension((mime_type or "").partition(";")[0].strip()) or ""


def _structured_text(result: CallToolResult, texts: Sequence[str]) -> str | None:
    """Return the structured content as JSON, unless one of the texts is the same: servers send it as both."""
    if result.structured_content is None:
        return None
    for text in texts:
        try:
            if msgspec.json.decode(text) == result.structured_content:
                return None
        except (msgspec.DecodeError, RecursionError):
            continue
    return msgspec.json.encode(result.structured_content).decode()


async def _save(file: _File, files: FileService, context: CallContext) -> Attachment | str:
    """Save a file for the user; returns a note for the model when that is impossible."""
    try:
        data = await asyncio.to_thread(_decode, file.data)
    except (binascii.Error, ValueError):
        return f"[{file.name} left out: it is not base64]"
    principal = Principal(context.key_id, "", frozenset(), context.username)
    try:
        return await files.save(file.name, _blocks(data), principal)
    except AppError as error:
        return f"[{file.name} left out: {error.message}]"


def _decode(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES]
