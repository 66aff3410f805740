"""HTML by Beautiful Soup and markdownify: headings, lists, links and tables as Markdown, without scripts and styles."""

import codecs
import re
from typing import Final

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from app.files.extraction.output import TextOutput
from app.files.extraction.packages import megabytes

_INVISIBLE: Final = ("script", "style", "template", "noscript", "svg", "head")
MAX_BYTES: Final = 1024**2
"""The most that is parsed of a page, scripts and styles left out: one all of tags takes 300 times that in memory."""
# What makes most pages large, and would only be thrown away.
_CODE: Final = re.compile(rb"<(script|style|svg)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\f"))
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GAPS: Final = re.compile(r"\n{3,}")


class _Converter(MarkdownConverter):
    """Keeps the bars in a cell from being taken for its borders."""

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]


def read_html(data: bytes, output: TextOutput) -> None:
    data = _CODE.sub(b"", data if data.startswith(_UTF_16) else data.translate(None, _CONTROLS))
    soup = BeautifulSoup(data[:MAX_BYTES], "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    for element in soup(_INVISIBLE):
        element.decompose()
    if title:
        output.line(f"[title] {title}")
        output.blank()
    text = _Converter(heading_style="ATX", bullets="-", escape_misc=False).convert_soup(soup)
    output.line(_GAPS.sub("\n\n", text).strip())
    if len(data) > MAX_BYTES:
        output.cut(f"cut off here: only the first {megabytes(MAX_BYTES)} of the page were read")
