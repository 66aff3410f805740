"""Images are what their content says, whole, of kinds and sizes that model servers take."""

import asyncio
import os
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageStat

from app.errors import Unavailable
from app.files import images
from app.files.extraction.models import Reason, Unreadable
from app.files.images import CheckedImage, ImageLimits, ImageReader
from app.files.imaging.conversion import fit_image
from app.files.refusals import ImageRefused
from app.workers.turns import Caller

DATA = Path(__file__).parents[1] / "data" / "images"
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


@asynccontextmanager
async def a_reader(**limits: Any) -> AsyncIterator[ImageReader]:
    reader = ImageReader(ImageLimits(**limits))
    try:
        yield reader
    finally:
        await reader.close()


async def checked(data: bytes, name: str = "cat.png", **limits: Any) -> CheckedImage:
    async with a_reader(**limits) as reader:
        return await reader.check(data, name)


async def refused(data: bytes, name: str = "cat.png", **limits: Any) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        await checked(data, name, **limits)
    error = caught.value
    assert error.message.startswith(f"{name} cannot be read: it ")
    assert error.status == (413 if error.reason is Reason.TOO_LARGE else 422)
    assert error.code == f"image_{error.reason}"
    return error


async def test_images_pass_as_they_are_with_the_type_of_their_content() -> None:
    async with a_reader() as reader:
        for kind, media_type in KINDS.items():
            data = picture(kind)
            image = await reader.check(data, "named.bmp")
            assert (image.data, image.media_type, image.width, image.height, image.changed) == (
                data, media_type, 40, 30, False,
            )  # fmt: skip


async def test_plain_images_of_all_modes_pass_as_they_are() -> None:
    async with a_reader() as reader:
        for data in (
            picture("JPEG", mode="L"),
            picture("JPEG", progressive=True),
            picture("PNG", mode="1"),
            picture("PNG", mode="LA"),
            picture("PNG", mode="RGBA"),
            picture("PNG", mode="P", transparency=0),
            picture("GIF", mode="P", transparency=0),
            picture("WEBP", mode="RGBA", lossless=True),
        ):
            assert (await reader.check(data, "a")).data == data


def red_corner(image: Image.Image) -> Image.Image:
    image.paste("red", (0, 0, 20, 20))
    return image


@pytest.mark.parametrize(
    ("kind", "mode", "media_type"),
    [
        ("AVIF", "RGB", "image/jpeg"),
        ("AVIF", "RGBA", "image/png"),
        ("BMP", "RGB", "image/png"),
        ("BMP", "1", "image/png"),
        ("BMP", "P", "image/png"),
        ("DIB", "RGB", None),
        ("TIFF", "RGB", "image/png"),
        ("TIFF", "CMYK", "image/png"),
        ("TIFF", "LAB", "image/png"),
        ("TIFF", "YCbCr", "image/png"),
        ("TIFF", "F", "image/png"),
        ("TIFF", "I;16", "image/png"),
        ("TIFF", "I;16B", "image/png"),
        ("TIFF", "1", "image/png"),
        ("TIFF", "RGBA", "image/png"),
        ("ICO", "RGBA", "image/png"),
        ("JPEG2000", "RGB", "image/jpeg"),
        ("JPEG2000", "RGBA", "image/png"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("PNG", "I;16", "image/png"),
    ],
)
async def test_images_that_model_servers_do_not_take_are_converted(
    kind: str, mode: str, media_type: str | None
) -> None:
    source = Image.linear_gradient("L").resize((64, 64))
    if mode == "LAB":
        image = Image.merge("LAB", (source, Image.new("L", (64, 64), 128), Image.new("L", (64, 64), 128)))
    elif mode.startswith("I;16"):
        image = source.convert("I").point(lambda value: value * 257).convert(mode)
    else:
        image = source.convert("RGB").convert(mode)
        if mode == "RGBA":
            image.putalpha(200)
    out = BytesIO()
    image.save(out, kind)
    if media_type is None:
        assert (await refused(out.getvalue())).reason is Reason.UNSUPPORTED
        return
    converted = await checked(out.getvalue(), "photo")
    assert (converted.media_type, converted.changed) == (media_type, True)
    result = decoded(converted.data)
    assert result.size == (converted.width, converted.height) == (64, 64)
    assert result.mode in ("L", "RGB", "RGBA")
    # A gradient from black to white remains one, whatever its numbers were.
    grey = result.convert("RGB").convert("L")
    dark, light = (ImageStat.Stat(grey.crop((0, top, 64, top + 4))).mean[0] for top in (0, 60))
    assert dark < 60 and light > 195


@pytest.mark.parametrize(
    ("name", "media_type", "size"),
    [
        ("photo.heic", "image/jpeg", (64, 48)),
        ("alpha.heic", "image/png", (64, 48)),
        ("series.heic", "image/jpeg", (32, 32)),
    ],
)
async def test_photos_of_telephones_are_converted(name: str, media_type: str, size: tuple[int, int]) -> None:
    converted = await checked((DATA / name).read_bytes(), name)
    assert (converted.media_type, converted.width, converted.height) == (media_type, *size)
    assert decoded(converted.data).size == size


async def test_a_turned_photo_is_shown_upright() -> None:
    async with a_reader() as reader:
        for orientation in range(2, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            upright = red_corner(Image.new("RGB", (80, 40), "white"))
            out = BytesIO()
            upright.save(out, "JPEG", exif=exif)
            image = await reader.check(out.getvalue(), "photo.jpg")
            assert image.changed
            assert (image.width, image.height) == ((80, 40) if orientation < 5 else (40, 80))
            assert decoded(image.data).getexif().get(0x0112, 1) == 1
        exif[0x0112] = 99  # no orientation
        upright.save(out := BytesIO(), "JPEG", exif=exif)
        assert not (await reader.check(out.getvalue(), "photo.jpg")).changed


async def test_a_png_of_sixteen_bits_a_colour_is_converted() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    image = await checked(data)
    assert image.changed
    assert image.data[24] == 8
    assert decoded(image.data).getpixel((0, 0)) == (255, 128, 0)


async def test_an_image_that_would_need_too_many_bytes_is_made_smaller() -> None:
    noise = Image.effect_noise((600, 600), 120).convert("RGBA")
    noise.putalpha(100)
    out = BytesIO()
    noise.save(out, "TIFF", compression="tiff_lzw")
    image = await checked(out.getvalue(), max_bytes=max(len(out.getvalue()), 400_000) // 1, max_side=500)
    assert len(image.data) <= 1_500_000
    image = await checked(picture("BMP", (600, 600)), max_bytes=1_100_000)
    assert image.changed


async def test_what_is_no_supported_image_is_refused() -> None:
    for data in (
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF",
        b"BMW builds cars, and this is a text about them.",
        b"\0\0\1\0\0\0",
        b"\0\0\0\x18ftypmp42" + bytes(40),
        picture("PPM"),
        picture("TGA"),
    ):
        assert (await refused(data)).reason is Reason.UNSUPPORTED
    assert (await refused(b"")).reason is Reason.EMPTY


async def test_cut_images_of_all_kinds_are_refused() -> None:
    samples = [picture(kind, (400, 300)) for kind in ("AVIF", "BMP", "TIFF", "ICO", "JPEG2000")]
    async with a_reader() as reader:
        for data in (*samples, (DATA / "photo.heic").read_bytes()):
            with pytest.raises(ImageRefused):
                await reader.check(data[: len(data) // 2], "cut")


async def test_broken_images_are_refused() -> None:
    for kind in KINDS:
        data = picture(kind, (400, 300))
        for length in (len(data) // 2, 40, 16):
            assert (await refused(data[:length])).reason is Reason.BROKEN, (kind, length)
    png = bytearray(picture("PNG"))
    png[60] ^= 0xFF
    assert (await refused(bytes(png))).reason is Reason.BROKEN


async def test_too_many_bytes_are_413() -> None:
    error = await refused(bytes(1001), max_bytes=1000)
    assert error.status == 413


async def test_animations_are_refused_or_reduced_to_their_first_picture() -> None:
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        error = await refused(animation(kind))
        assert "it is animated" in error.message
        still = await checked(animation(kind), "cat.gif", animated="first")
        assert still.media_type == {"WEBP": "image/webp", "AVIF": "image/jpeg"}.get(kind, "image/png")
        picture = decoded(still.data)
        assert not getattr(picture, "is_animated", False)
        red, green, blue = picture.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert red > 200 and green < 60 and blue < 60


async def test_a_photo_with_a_second_picture_behind_it_is_a_plain_jpeg() -> None:
    out = BytesIO()
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    first.save(out, "MPO", save_all=True, append_images=[second])
    image = await checked(out.getvalue(), "photo.jpg")
    assert image.media_type == "image/jpeg"
    assert not image.changed


async def test_large_images_are_scaled_or_refused() -> None:
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("GIF", "P")):
        data = picture(kind, (900, 300), mode)
        image = await checked(data, "wide.jpg", max_side=300)
        assert (image.width, image.height, image.changed) == (300, 100, True)
        assert image.media_type == ("image/png" if kind == "GIF" else KINDS[kind])
        assert decoded(image.data).size == (300, 100)
        error = await refused(data, max_side=300, oversized="refuse")
        assert "larger than 300 pixels at one side" in error.message


async def test_a_scaled_photo_stays_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = picture("JPEG", (900, 300), exif=exif)
    image = await checked(data, "tall.jpg", max_side=300)
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


def test_decompression_bombs_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
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
        with pytest.raises(Unreadable) as caught:
            fit_image(data, ImageLimits())
        assert caught.value.reason is Reason.BOMB
        assert "more than 50,000,000 pixels" in caught.value.explanation


async def test_a_jpeg_of_many_scans_is_refused_undecoded() -> None:
    """A file of 200 KB may take minutes: the whole picture is refined once more by each of its scans."""
    data = picture("JPEG", (64, 64), progressive=True)
    start = data.rindex(b"\xff\xda")
    image = data[:start] + data[start:-2] * 200 + b"\xff\xd9"
    assert "more than 100 scans" in (await refused(image)).message
    assert not (await checked(data)).changed


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process(os.getpid()).children():
        try:
            if "app.files.imaging.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def slow_image(seed: int) -> bytes:
    """An image that takes its time: large, and to be scaled down to a few pixels less."""
    return picture("PNG", (2_900 + seed, 3_000), "RGB", compress_level=1)


async def test_an_image_that_takes_too_long_is_refused_and_its_worker_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "QUICK_SECONDS", 0.02)
    async with a_reader(timeout_seconds=0.05, max_side=2_500) as reader:
        await reader.check(picture("PNG"), "warm.png")
        with pytest.raises(ImageRefused) as caught:
            await reader.check(slow_image(0), "slow.png")
        assert caught.value.reason is Reason.TOO_SLOW
        assert caught.value.status == 422
    async with asyncio.timeout(10):
        while workers():
            await asyncio.sleep(0.01)


async def test_a_slow_image_is_read_in_a_lane_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "QUICK_SECONDS", 0.02)
    async with a_reader(max_side=2_500, timeout_seconds=120) as reader:
        assert (await reader.check(slow_image(0), "slow.png")).height == 2_500


@pytest.mark.xdist_group("timing")
async def test_a_small_image_does_not_wait_for_other_callers_slow_ones() -> None:
    async with a_reader(max_side=2_500, timeout_seconds=120) as reader:
        await reader.check(picture("PNG"), "warm.png")
        slow = [slow_image(seed) for seed in range(4)]
        busy = [
            asyncio.create_task(reader.check(data, "slow.png", Caller("k", f"mallory {seed % 2}")))
            for seed, data in enumerate(slow * 2)
        ]
        await asyncio.sleep(0)
        start = time.monotonic()
        await reader.check(picture("PNG", (2, 2)), "small.png", Caller("k", "alice"))
        waited = time.monotonic() - start
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        # At most one turn of the quick lane, and the start of a worker in the place of one that was killed.
        assert waited < images.QUICK_SECONDS + 3


async def test_an_image_is_decoded_once() -> None:
    async with a_reader() as reader:
        data = picture("BMP")
        first = await reader.check(data, "a.bmp")
        with pytest.raises(ImageRefused, match=r"^c\.png cannot be read: it is empty"):
            await reader.check(b"", "c.png")
        await reader.close()  # nobody is left to decode anything
        assert await reader.check(data, "b.bmp") == first
        with pytest.raises(ImageRefused, match=r"^d\.png cannot be read: it is empty"):
            await reader.check(b"", "d.png")
        with pytest.raises(Unavailable):
            await reader.check(picture("PNG"), "e.png")


async def test_leaving_ends_the_work() -> None:
    async with a_reader(max_side=2_500, timeout_seconds=120) as reader:
        reading = asyncio.create_task(reader.check(slow_image(1), "slow.png"))
        async with asyncio.timeout(30):
            while not workers():
                await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(10):
            while workers():
                await asyncio.sleep(0.01)
        assert (await reader.check(picture("PNG"), "next.png")).width == 40


async def test_closing_tells_who_waits() -> None:
    async with a_reader() as reader:
        await reader.close()
        with pytest.raises(Unavailable):
            await reader.check(picture("PNG"), "late.png")


async def test_a_decoder_that_takes_too_much_memory_is_a_refusal() -> None:
    image = picture("PNG", (6_000, 6_000), "RGBA")
    with pytest.raises(ImageRefused, match="takes too much memory"):
        await checked(image, memory_bytes=256 * 1024**2, max_side=5_000, timeout_seconds=120)
