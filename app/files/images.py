"""Images for a model: checked by their content, and scaled down to a limit.

Pillow works in threads and lets the event loop run meanwhile; it is imported with the first image.
"""

import asyncio
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final, Literal

from app.files.extraction.models import BROKEN, TOO_MUCH_MEMORY, Reason
from app.files.refusals import ImageRefused

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

WORKERS: Final = 2
"""Images decoded at once: each takes up to four bytes a pixel."""
QUALITY: Final = 90

# MPO is a JPEG with a second picture behind it, as some telephones make them; model servers accept it.
_MEDIA_TYPES: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of an image. Above `max_bytes` and `max_pixels` it is refused, without being decoded.

    `oversized` says what to do when its longer side is above `max_side` pixels: `scale` it down, or `refuse` it.
    `animated` does so for animations: take the `first` picture, or `refuse` it.
    """

    max_bytes: int = 10 * 1024**2
    max_pixels: int = 50_000_000
    max_side: int = 8_000
    oversized: Literal["scale", "refuse"] = "scale"
    animated: Literal["first", "refuse"] = "refuse"


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A decodable image; `data` is the sender's own unless it was `changed`."""

    data: bytes
    media_type: str
    width: int
    height: int
    changed: bool


class ImageReader:
    """Checks images and makes them fit, at most WORKERS at once."""

    def __init__(self, limits: ImageLimits | None = None) -> None:
        self.limits = limits or ImageLimits()
        self._slots = asyncio.Semaphore(WORKERS)

    async def check(self, data: bytes, filename: str) -> CheckedImage:
        """Check the image in `data`. Raises ImageRefused."""
        if len(data) > self.limits.max_bytes:
            explanation = f"it is larger than {self.limits.max_bytes:,} bytes"
            raise ImageRefused(filename, Reason.TOO_LARGE, explanation)
        async with self._slots:
            return await asyncio.to_thread(check_image, data, filename, self.limits)


def check_image(data: bytes, filename: str, limits: ImageLimits) -> CheckedImage:
    """Check an image in this thread. Raises ImageRefused."""
    from PIL import Image

    def refused(reason: Reason, explanation: str) -> ImageRefused:
        return ImageRefused(filename, reason, explanation)

    if not data:
        raise refused(Reason.EMPTY, "it is empty")
    if not looks_like_image(data):
        raise refused(Reason.UNSUPPORTED, "it is no image of a supported kind (PNG, JPEG, GIF, WebP)")
    too_many = f"it has more than {limits.max_pixels:,} pixels"
    size = _webp_size(data)
    # The WebP decoder takes the memory of the whole picture when it is opened.
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise refused(Reason.BOMB, too_many)
    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP")) as image:
            if image.width * image.height > limits.max_pixels:
                raise refused(Reason.BOMB, too_many)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            if animated and limits.animated == "refuse":
                raise refused(Reason.UNSUPPORTED, "it is animated")
            oversized = max(image.size) > limits.max_side
            if oversized and limits.oversized == "refuse":
                raise refused(Reason.TOO_LARGE, f"it is larger than {limits.max_side:,} pixels at one side")
            media_type = _MEDIA_TYPES[image.format or ""]
            if animated or oversized:
                return _fitted(image, limits.max_side)
            image.load()
            return CheckedImage(data, media_type, image.width, image.height, changed=False)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise refused(Reason.BOMB, too_many) from None
    except MemoryError:
        raise refused(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, TypeError, RuntimeError):
        # Pillow's decoders raise these for broken files.
        raise refused(Reason.BROKEN, BROKEN) from None


def _fitted(image: "ImageFile", max_side: int) -> CheckedImage:
    """The first picture, upright and within `max_side`; a GIF becomes a PNG."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    target = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WEBP"}.get(image.format or "", "PNG")
    # A JPEG can be decoded at an eighth, a quarter or half of its size, which costs as much less.
    image.draft(None, (max_side, max_side))
    fitted: Image = ImageOps.exif_transpose(image)
    if fitted.mode not in ("RGB", "RGBA", "L"):
        fitted = fitted.convert("RGBA" if fitted.has_transparency_data and target != "JPEG" else "RGB")
    fitted.thumbnail((max_side, max_side), Resampling.LANCZOS)
    out = BytesIO()
    fitted.save(out, target, **({} if target == "PNG" else {"quality": QUALITY}))
    return CheckedImage(out.getvalue(), _MEDIA_TYPES[target], fitted.width, fitted.height, changed=True)


def looks_like_image(data: bytes) -> bool:
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")) or (
        data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    )


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """The width and height in the head of a WebP file."""
    if not data.startswith(b"RIFF") or len(data) < 30:
        return None
    head = data[20:30]
    match data[12:16]:
        case b"VP8X":
            return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(head[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
        case _:
            return None
