"""Images are what their content says, whole, and no larger than the model's server takes."""

import asyncio
import struct
import threading
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from app.files.extraction.models import Reason
from app.files.images import ImageLimits, ImageReader
from app.files.refusals import ImageRefused

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


def picture(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: Any) -> bytes:
    out = BytesIO()
    image = Image.linear_gradient("L").resize(size).convert(mode)
    image.save(out, kind, **options)
    return out.getvalue()


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "green", "blue")]
    out = BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.copy()


async def refused(data: bytes, limits: ImageLimits | None = None, name: str = "cat.png") -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        await ImageReader(limits).check(data, name)
    error = caught.value
    assert error.message.startswith(f"{name} cannot be read: it ")
    assert error.status == (413 if error.reason is Reason.TOO_LARGE else 422)
    assert error.code == f"image_{error.reason}"
    return error


async def test_images_pass_as_they_are_with_the_type_of_their_content() -> None:
    for kind, media_type in KINDS.items():
        data = picture(kind)
        image = await ImageReader().check(data, "named.bmp")
        assert (image.data, image.media_type, image.width, image.height, image.changed) == (
            data, media_type, 40, 30, False,
        )  # fmt: skip


async def test_what_is_no_supported_image_is_refused() -> None:
    for data in (b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture("BMP"), picture("TIFF"), b"RIFF"):
        assert (await refused(data)).reason is Reason.UNSUPPORTED
    assert (await refused(b"")).reason is Reason.EMPTY


async def test_broken_images_are_refused() -> None:
    for kind in KINDS:
        data = picture(kind, (400, 300))
        for length in (len(data) // 2, 40, 16):
            assert (await refused(data[:length])).reason is Reason.BROKEN, (kind, length)
    png = bytearray(picture("PNG"))
    png[60] ^= 0xFF
    assert (await refused(bytes(png))).reason is Reason.BROKEN


async def test_too_many_bytes_are_413() -> None:
    error = await refused(bytes(1001), ImageLimits(max_bytes=1000))
    assert error.status == 413


async def test_animations_are_refused_or_reduced_to_their_first_picture() -> None:
    for kind in ("GIF", "WEBP", "PNG"):
        error = await refused(animation(kind))
        assert "it is animated" in error.message
        still = await ImageReader(ImageLimits(animated="first")).check(animation(kind), "cat.gif")
        assert still.media_type == ("image/webp" if kind == "WEBP" else "image/png")
        picture = decoded(still.data)
        assert not getattr(picture, "is_animated", False)
        red, green, blue = picture.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert red > 200 and green < 60 and blue < 60


async def test_a_photo_with_a_second_picture_behind_it_is_a_plain_jpeg() -> None:
    out = BytesIO()
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    first.save(out, "MPO", save_all=True, append_images=[second])
    image = await ImageReader().check(out.getvalue(), "photo.jpg")
    assert image.media_type == "image/jpeg"
    assert not image.changed


async def test_large_images_are_scaled_or_refused() -> None:
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("GIF", "P")):
        data = picture(kind, (900, 300), mode)
        image = await ImageReader(ImageLimits(max_side=300)).check(data, "wide.jpg")
        assert (image.width, image.height, image.changed) == (300, 100, True)
        assert image.media_type == ("image/png" if kind == "GIF" else KINDS[kind])
        assert decoded(image.data).size == (300, 100)
        error = await refused(data, ImageLimits(max_side=300, oversized="refuse"))
        assert "larger than 300 pixels at one side" in error.message


async def test_a_scaled_photo_stays_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = picture("JPEG", (900, 300), exif=exif)
    image = await ImageReader(ImageLimits(max_side=300)).check(data, "tall.jpg")
    assert (image.width, image.height) == (100, 300)


def png_head(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def webp_head(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data

    canvas = bytes([2, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + chunk(b"VP8X", canvas) + chunk(b"ANIM", bytes(6))
    return b"RIFF" + struct.pack("<I", len(body)) + body


async def test_decompression_bombs_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    gif = bytearray(picture("GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    for data in (
        png_head(8_000, 7_000),
        png_head(12_000, 12_000),
        png_head(100_000, 100_000),
        webp_head(16_000, 16_000),
        bytes(gif),
    ):
        error = await refused(data)
        assert error.reason is Reason.BOMB
        assert "more than 50,000,000 pixels" in error.message


async def test_images_are_decoded_beside_the_event_loop_and_only_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running = peak = 0
    lock, go_on = threading.Lock(), threading.Event()
    load = Image.Image.load

    def slow(self: Image.Image) -> Any:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        go_on.wait(10)
        with lock:
            running -= 1
        return load(self)

    data = picture("PNG")
    reader = ImageReader()
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", slow)
    checks = [asyncio.create_task(reader.check(data, "a.png")) for _ in range(6)]
    async with asyncio.timeout(10):
        while peak < 2:
            await asyncio.sleep(0.001)
    go_on.set()
    monkeypatch.undo()
    await asyncio.gather(*checks)
    assert peak == 2
