"""What a file is comes from its content, whatever its sender says."""

import struct

import pytest

from app.files.models import Kind
from app.files.sniffing import Sniffer
from tests.files.conftest import Served

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x44\xac\0\0\x88\x58\1\0\2\0\x10\0data\0\0\0\0"
OPUS = b"OggS\0\2" + b"\0" * 8 + b"abcd\0\0\0\0efgh\1\x13OpusHead\1\1\0\0\x80\xbb\0\0\0\0\0"
WEBM = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\xf2\x81\4\x42\xf3\x81\x08\x42\x82\x84webm"

SAMPLES = [
    (PNG, "image/png", Kind.IMAGE),
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", "image/jpeg", Kind.IMAGE),
    (b"GIF89a\1\0\1\0\0\0\0;", "image/gif", Kind.IMAGE),
    (b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\1\0\x9d\1\x2a\1\0\1\0", "image/webp", Kind.IMAGE),
    (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B", "image/avif", Kind.IMAGE),
    (WAV, "audio/wav", Kind.RECORD),
    (b"ID3\3\0\0\0\0\0\x0a" + b"\0" * 10 + b"\xff\xfb\x90\x64" + b"\0" * 413, "audio/mpeg", Kind.RECORD),
    (OPUS, "audio/ogg", Kind.RECORD),
    (b"#!AMR\n" + b"\0" * 20, "audio/amr", Kind.RECORD),
    (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom", "audio/mp4", Kind.RECORD),
    (WEBM + b"\0" * 20 + b"A_OPUS", "audio/webm", Kind.RECORD),
    (WEBM + b"\0" * 20 + b"V_VP9 A_OPUS", "video/webm", Kind.VIDEO),
    (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video/mp4", Kind.VIDEO),
    (b"\0\0\0\x14ftypqt  \0\0\2\0qt  ", "video/quicktime", Kind.VIDEO),
    (b"%PDF-1.7\n%\xe2\xe3", "application/pdf", Kind.FILE),
    (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "image/svg+xml", Kind.FILE),
    (b"<!-- c --><svg onload=alert(1)></svg>", "image/svg+xml", Kind.FILE),
    (b"<!DOCTYPE html><html><script>alert(1)</script>", "text/html", Kind.FILE),
    (b"\xef\xbb\xbf\n <b>hi</b><img src=x onerror=alert(1)>", "text/html", Kind.FILE),
    (b'<?xml version="1.0"?><a/>', "text/xml", Kind.FILE),
    (b"hello", "text/plain", Kind.FILE),
    (b"a", "text/plain", Kind.FILE),
    (b"\n", "text/plain", Kind.FILE),
    (("a" + "\u4f60" * 4000).encode()[:8192], "text/plain", Kind.FILE),
    (b"a < b\n", "text/plain", Kind.FILE),
    (b"", "application/x-empty", Kind.FILE),
    (b"\0" * 100, "application/octet-stream", Kind.FILE),
    (b"CWS\x09" + b"\0" * 20, "application/octet-stream", Kind.FILE),
    (b"MZ" + b"\0" * 100, "application/x-dosexec", Kind.FILE),
]


@pytest.fixture(scope="module")
def sniffer() -> Sniffer:
    return Sniffer()


@pytest.mark.parametrize(("head", "media_type", "kind"), SAMPLES)
def test_type_of(sniffer: Sniffer, head: bytes, media_type: str, kind: Kind) -> None:
    sniffed = sniffer.sniff(head)
    assert (sniffed.media_type, sniffed.kind) == (media_type, kind)


def test_random_bytes_are_no_picture(sniffer: Sniffer) -> None:
    assert sniffer.sniff(bytes(range(256))).kind is Kind.FILE


@pytest.mark.parametrize("claimed", ["image/png", "text/html", "nonsense"])
async def test_claimed_type_is_not_believed_defect_9(served: Served, claimed: str) -> None:
    data = await served.upload(b"only text", "page.html", claimed)
    assert (data["type"], data["media_type"]) == ("file", "text/plain")
    answer = await served.content(data["attachment_id"])
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><script>alert(1)</script>",
        b"<script>alert(1)</script>",
        b"<b>x</b><img src=x onerror=alert(1)>",
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        b'<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
    ],
)
async def test_active_content_is_a_download_defect_9(served: Served, content: bytes) -> None:
    data = await served.upload(content, "cat.png", "image/png")
    assert data["type"] == "file"
    headers = (await served.content(data["attachment_id"])).headers
    assert headers["Content-Disposition"].startswith("attachment;")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("content", [PNG, WAV, WEBM, b"text", b"%PDF-1.7\n%\xe2\xe3"])
async def test_safe_types_are_shown_inline(served: Served, content: bytes) -> None:
    data = await served.upload(content)
    headers = (await served.content(data["attachment_id"])).headers
    assert headers["Content-Disposition"].startswith("inline;")


async def test_charset_is_named_only_when_all_of_the_text_is_utf_8(served: Served) -> None:
    for content, content_type in (
        ("\u4f60\u597d ".encode() * 10_000, "text/plain; charset=utf-8"),
        (b"a " * 10_000 + "caf\u00e9".encode("latin-1"), "text/plain"),
        ("caf\u00e9 au lait".encode("latin-1"), "text/plain"),
    ):
        data = await served.upload(content)
        assert (await served.content(data["attachment_id"])).headers["Content-Type"] == content_type
