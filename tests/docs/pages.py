"""The documentation as text: its pages, their code blocks and headings."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next heading of its rank or above."""
    (start,) = re.finditer(rf"^(#+) {re.escape(heading)}$", prose(text), re.MULTILINE)
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", prose(rest), re.MULTILINE)
    return rest[: end.start()] if end else rest


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text with its code blocks blanked out in place, since a `#` in code is not a heading."""
    return re.sub(r"^```.*?^```$", lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL | re.MULTILINE)


def headings(text: str) -> list[tuple[int, str]]:
    """The rank and the title of each heading, in order."""
    return [(len(match[1]), match[2]) for match in _HEADING.finditer(prose(text))]


def anchors(text: str) -> set[str]:
    """The anchors of the headings."""
    titles = [title.lower() for _, title in headings(text)]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
