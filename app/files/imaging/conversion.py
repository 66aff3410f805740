"""One image, checked and made fit for model servers; runs in a process of its own."""

import struct
from io import BytesIO
from typing import Final

import pi_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Resampling
from PIL.ImageFile import ImageFile

from app.files.extraction.models import Reason, Unreadable
from app.files.imaging.models import SUPPORTED, ImageFacts, ImageLimits, looks_like_image

QUALITY: Final = 90
MAX_SCANS: Final = 100
"""Of a JPEG: cameras and programs write ten or so, and each one costs as much as all of the picture."""
LARGE_PIXELS: Final = 4_000_000
ORIENTATION: Final = 0x0112
SIXTEEN_BITS: Final = 65_535

# Imported here, and not by Pillow when it meets the first one, with forty others.
_FORMATS: Final = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        GifImagePlugin.GifImageFile,
        WebPImagePlugin.WebPImageFile,
        AvifImagePlugin.AvifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        IcoImagePlugin.IcoImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
    )
)
# MPO is a JPEG with a second picture behind it, as some telephones make them; model servers accept it.
_MEDIA_TYPES: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
_ANIMATIONS: Final = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
"""Pages of a TIFF, sizes of an icon and a telephone's series of photos are no animations."""
_PHOTOS: Final = frozenset({"JPEG", "MPO", "HEIF", "AVIF", "JPEG2000"})
_DEEP_MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_EXIF_ERRORS: Final = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, EOFError, struct.error)


def fit_image(data: bytes, limits: ImageLimits) -> tuple[ImageFacts, bytes]:
    """The image as model servers take it: as it is, wherever possible. Raises Unreadable, and what decoders raise."""
    if not data:
        raise Unreadable(Reason.EMPTY, "it is empty")
    if not looks_like_image(data):
        raise Unreadable(Reason.UNSUPPORTED, f"it is no image of a supported kind ({SUPPORTED})")
    too_many = Unreadable(Reason.BOMB, f"it has more than {limits.max_pixels:,} pixels")
    size = _webp_size(data)
    # The WebP decoder takes the memory of the whole picture when it is opened.
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise too_many
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise Unreadable(Reason.BOMB, f"it is made of more than {MAX_SCANS} scans")
    try:
        with _opened(data) as image:
            if image.width * image.height > limits.max_pixels:
                raise too_many
            return _fitted(image, data, limits)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_many from None


def _opened(data: bytes) -> ImageFile:
    formats = _FORMATS
    if data[4:8] == b"ftyp" and data[8:12] not in (b"avif", b"avis"):
        pi_heif.register_heif_opener(thumbnails=False)
        formats = ("HEIF", "AVIF")
    # Each further thread takes address space.
    pi_heif.options.DECODE_THREADS = AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image.open(BytesIO(data), formats=formats)


def _fitted(image: ImageFile, data: bytes, limits: ImageLimits) -> tuple[ImageFacts, bytes]:
    kind = image.format or ""
    animated = kind in _ANIMATIONS and getattr(image, "is_animated", False)
    if animated and limits.animated == "refuse":
        raise Unreadable(Reason.UNSUPPORTED, "it is animated")
    oversized = max(image.size) > limits.max_side
    if oversized and limits.oversized == "refuse":
        raise Unreadable(Reason.TOO_LARGE, f"it is larger than {limits.max_side:,} pixels at one side")
    if oversized:
        # A JPEG can be decoded at an eighth, a quarter or half of its size, which costs as much less.
        image.draft(None, (limits.max_side, limits.max_side))
    image.load()
    if not animated and not oversized and _is_plain(image, data):
        return ImageFacts(_MEDIA_TYPES[kind], image.width, image.height, changed=False), data
    picture = _in_plain_mode(_upright(image))
    picture.thumbnail((limits.max_side, limits.max_side), Resampling.LANCZOS)
    return _encoded(picture, _target_of(kind, picture), limits)


def _is_plain(image: ImageFile, data: bytes) -> bool:
    """Whether model servers show the image as people see it: upright, in grey or RGB, of eight bits."""
    match image.format:
        case "PNG":
            plain = data[24] <= 8
        case "JPEG" | "MPO":
            plain = image.mode in ("L", "RGB")
        case kind:
            plain = kind in ("GIF", "WEBP")
    return plain and _orientation(image) in (0, 1)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except _EXIF_ERRORS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: ImageFile) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image.copy()


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """The picture in grey, RGB or RGBA; no profile is left that was for other colours."""
    profile = image.info.get("icc_profile") if image.mode in ("L", "RGB", "RGBA", "P") else None
    plain = _converted(image)
    plain.info = {"icc_profile": profile} if profile else {}
    return plain


def _converted(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return _with_eight_bits(image)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "1"):
        return image.convert("L")
    if image.mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image.convert("L")
    return image.convert("RGB")


def _with_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than eight bits: conversion alone would cut off all that is brighter than 255."""
    wide = image if image.mode in ("I", "F") else image.convert("I")
    low, high = (float(bound) for bound in wide.getextrema())  # type: ignore[arg-type]
    if image.mode.startswith("I;16") or (low >= 0 and 255 < high <= SIXTEEN_BITS):
        low, high = 0.0, float(SIXTEEN_BITS)
    elif low >= 0 and 1 < high <= 255:
        low, high = 0.0, 255.0
    elif not low < high:  # one colour, or no numbers
        low, high = 0.0, 1.0
    scale = 255 / (high - low)
    return wide.point(lambda value: value * scale - low * scale).convert("L")


def _target_of(kind: str, picture: Image.Image) -> str:
    if kind == "WEBP":
        return "WEBP"
    is_opaque = picture.mode != "RGBA"
    is_large = picture.width * picture.height > LARGE_PIXELS and kind not in ("PNG", "GIF")
    return "JPEG" if is_opaque and (kind in _PHOTOS or is_large) else "PNG"


def _encoded(picture: Image.Image, target: str, limits: ImageLimits) -> tuple[ImageFacts, bytes]:
    """The picture in a file of at most `max_bytes`; should it need more, it is made smaller."""
    while True:
        data = _saved(picture, target)
        if len(data) <= limits.max_bytes:
            return ImageFacts(_MEDIA_TYPES[target], picture.width, picture.height, changed=True), data
        if target == "PNG" and picture.mode != "RGBA":
            target = "JPEG"
        else:
            picture.thumbnail((max(1, picture.width // 2), max(1, picture.height // 2)), Resampling.LANCZOS)


def _saved(picture: Image.Image, target: str) -> bytes:
    out = BytesIO()
    profile = picture.info.get("icc_profile")
    if target == "PNG":
        level = 1 if picture.width * picture.height > LARGE_PIXELS else 6  # zlib's own
        picture.save(out, "PNG", icc_profile=profile, compress_level=level)
    else:
        picture.save(out, target, icc_profile=profile, quality=QUALITY)
    return out.getvalue()


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
