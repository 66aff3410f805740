"""The messages between the server and the processes that decode images, and what both know of images."""

from typing import Final, Literal

import msgspec

from app.files.extraction.models import NoText

SUPPORTED: Final = "PNG, JPEG, GIF, WebP, HEIC, AVIF, BMP, TIFF, ICO and JPEG 2000"
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avif", b"avis"}
)
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_SIGNATURES: Final = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
)


class ImageLimits(msgspec.Struct, frozen=True):
    """Limits of an image. Above `max_bytes` and `max_pixels` it is refused, without being decoded.

    `oversized` says what to do when its longer side is above `max_side` pixels: `scale` it down, or `refuse` it.
    `animated` does so for animations: take the `first` picture, or `refuse` it.
    """

    max_bytes: int = 10 * 1024**2
    max_pixels: int = 50_000_000
    max_side: int = 8_000
    oversized: Literal["scale", "refuse"] = "scale"
    animated: Literal["first", "refuse"] = "refuse"
    timeout_seconds: float = 15.0
    memory_bytes: int = 1024**3


class ImageRequest(msgspec.Struct, frozen=True):
    """The head of a job; the file's bytes are its content."""

    limits: ImageLimits
    seconds: float


class ImageFacts(msgspec.Struct, frozen=True, tag="image"):
    """An image that model servers take; when it was `changed`, its bytes follow in a message of their own."""

    media_type: str
    width: int
    height: int
    changed: bool


ImageVerdict = ImageFacts | NoText


def looks_like_image(data: bytes) -> bool:
    """Whether the first bytes are those of an image that can be read here."""
    if data.startswith(_SIGNATURES):
        return True
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    if data[4:8] == b"ftyp":
        return data[8:12] in _HEIF_BRANDS
    if data[:2] == b"BM":  # two letters that many a text begins with
        return int.from_bytes(data[14:18], "little") in _BMP_HEADERS
    return data[:4] == b"\0\0\1\0" and data[4:6] not in (b"", b"\0", b"\0\0")
