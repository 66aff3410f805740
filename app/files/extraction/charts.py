"""Charts of all kinds, by their cached data: the kind only changes how they are drawn."""

from typing import Any, Final

from app.files.extraction.output import TextOutput
from app.files.extraction.xml import parsed

_C: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
MAX_POINTS: Final = 10_000


def read_chart(xml: bytes, output: TextOutput) -> None:
    """Add the chart's title and a table for each plot. What has no data is a line `[chart]`."""
    root = parsed(xml)
    output.blank()
    output.line(f"[chart] {title_of(xml)}")
    for plot in [] if root is None else root.iterfind(f".//{_C}plotArea/*"):
        series = plot.findall(f"{_C}ser")
        if series:
            output.table(_rows(series))
    output.blank()


def title_of(xml: bytes) -> str:
    root = parsed(xml)
    title = None if root is None else root.find(f".//{_C}chart/{_C}title")
    return "" if title is None else _words(title)


def _rows(series: list[Any]) -> list[list[str]]:
    columns = [_points(line, "val", "yVal") for line in series]
    categories = next((points for line in series if (points := _points(line, "cat", "xVal"))), {})
    places = sorted(set(categories).union(*columns))[:MAX_POINTS]
    names = [" ".join(_points(line, "tx").values()) for line in series]
    rows = [[categories.get(place, ""), *(column.get(place, "") for column in columns)] for place in places]
    return [["", *names], *rows]


def _points(line: Any, *names: str) -> dict[int, str]:
    """The cached values by their places. Of categories of several levels, those of a place are joined."""
    points: dict[int, str] = {}
    for name in names:
        for point in line.iterfind(f"{_C}{name}//{_C}pt"):
            value = point.find(f"{_C}v")
            place = point.get("idx", "")
            if value is not None and value.text and place.isdecimal():
                text = _number(value.text)
                points[int(place)] = f"{text} {points[int(place)]}" if int(place) in points else text
        if not points and name == "tx":
            points = dict(enumerate(value.text or "" for value in line.iterfind(f"{_C}tx/{_C}v")))
    return points


def _number(text: str) -> str:
    try:
        return f"{float(text):.15g}"
    except ValueError:
        return text


def _words(element: Any) -> str:
    pieces = [piece.text or "" for piece in element.iter(f"{_A}t", f"{_C}v")]
    return " ".join("".join(pieces).split())


def diagram_text(xml: bytes) -> list[str]:
    """The texts of SmartArt's points, in their order."""
    root = parsed(xml)
    if root is None:
        return []
    texts = [
        " ".join("".join(piece.text or "" for piece in line.iter(f"{_A}t")).split()) for line in root.iter(f"{_A}p")
    ]
    return [text for text in texts if text]
