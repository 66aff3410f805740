"""HTML by Beautiful Soup and markdownify: headings, lists, links and tables as Markdown, without scripts and styles."""

import re
from typing import Final

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from app.files.extraction.output import TextOutput

_INVISIBLE: Final = ("script", "style", "template", "noscript", "svg", "head")
_GAPS: Final = re.compile(r"\n{3,}")


class _Converter(MarkdownConverter):
    """Keeps the bars in a cell from being taken for its borders."""

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]


def read_html(data: bytes, output: TextOutput) -> None:
    soup = BeautifulSoup(data, "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    for element in soup(_INVISIBLE):
        element.decompose()
    if title:
        output.line(f"[title] {title}")
        output.blank()
    text = _Converter(heading_style="ATX", bullets="-", escape_misc=False).convert_soup(soup)
    output.line(_GAPS.sub("\n\n", text).strip())
