"""The files with which a hostile key keeps a server busy."""

import os
from io import BytesIO

from PIL import Image

from tests.files.hostile import entity_bomb, huge_cell, office, pdf, rows, workbook

IMAGE_SIDE = 1800
BOMB_SIDE = 7000
BOMB_SCANS = 90


def large_image() -> bytes:
    """A PNG of almost 10 MiB, whose pixels are noise."""
    size = (IMAGE_SIDE, IMAGE_SIDE)
    out = BytesIO()
    Image.frombytes("RGB", size, os.urandom(IMAGE_SIDE * IMAGE_SIDE * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def small_image() -> bytes:
    """A PNG of 2 by 2 pixels, each time another one."""
    out = BytesIO()
    Image.frombytes("RGB", (2, 2), os.urandom(12)).save(out, "PNG")
    return out.getvalue()


def jpeg_bomb() -> bytes:
    """A progressive JPEG of 200 KB that takes seconds to decode: each scan refines the whole picture once more."""
    out = BytesIO()
    Image.new("RGB", (BOMB_SIDE, BOMB_SIDE)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * BOMB_SCANS + data[-2:]


def changed(image: bytes) -> bytes:
    """A copy of a JPEG with other bytes behind its end, which no cache knows."""
    return image + os.urandom(16)


def long_text() -> bytes:
    return b"All work and no play. " * 9_000


def hostile_documents() -> list[tuple[str, bytes]]:
    """Documents by name that are slow, large or malformed."""
    return [
        ("a.html", b"<script " * 60_000),
        ("b.html", b"<style>" * 60_000),
        ("c.html", b"<b>" * 160_000),
        ("d.html", b"<table><tr><td>" * 30_000),
        ("e.pdf", pdf(1_900)),
        ("f.pdf", pdf(10, declared=10_000_000)),
        ("g.docx", office("docx", entity_bomb())),
        ("h.xlsx", huge_cell(150)),
        ("i.xlsx", workbook(rows(400_000))),
    ]
