"""What is attached to a sheet: comments on its cells, charts and texts drawn onto it."""

import posixpath
from typing import Any, Final
from zipfile import ZipFile

from lxml import etree

from app.files.extraction.charts import title_of
from app.files.extraction.xml import parsed

_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_XDR: Final = "{http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing}"


def attached(archive: ZipFile, sheet: str) -> list[str]:
    """A line for each comment, text and chart of a sheet; of charts the title, since their data are in cells."""
    lines: list[str] = []
    for comments in _linked(archive, sheet, "comments"):
        for comment in _parsed(archive, comments).iter(f"{_MAIN}comment"):
            text = " ".join("".join(piece.text or "" for piece in comment.iter(f"{_MAIN}t")).split())
            lines.append(f"[comment {comment.get('ref', '')}] {text}")
    for drawing in _linked(archive, sheet, "drawing"):
        for shape in _parsed(archive, drawing).iter(f"{_XDR}sp"):
            text = " ".join("".join(piece.text or "" for piece in shape.iter(f"{_A}t")).split())
            if text:
                lines.append(f"[text] {text}")
        charts = _linked(archive, drawing, "chart")
        lines += [f"[chart] {title_of(archive.read(chart))}".rstrip() for chart in charts]
    return lines


def _linked(archive: ZipFile, part: str, role: str) -> list[str]:
    """The parts of a role that a part refers to, as far as they are there."""
    folder, name = posixpath.split(part.lstrip("/"))
    path, names = f"{folder}/_rels/{name}.rels", set(archive.namelist())
    if path not in names:
        return []
    targets = [
        posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/")
        for element in _parsed(archive, path)
        if element.get("Type", "").rpartition("/")[2] == role
    ]
    return [target for target in targets if target in names]


def _parsed(archive: ZipFile, part: str) -> Any:
    root = parsed(archive.read(part))
    return etree.Element("empty") if root is None else root
