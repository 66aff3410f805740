"""HTML by Beautiful Soup and markdownify: headings, lists, links and tables as Markdown, without scripts and styles."""

import re
from typing import Final

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from app.files.extraction.encodings import declared_encoding
from app.files.extraction.output import TextOutput
from app.files.extraction.packages import megabytes
from app.files.extraction.plain import decode

_INVISIBLE: Final = ("script", "style", "template", "noscript", "svg", "head")
MAX_CHARS: Final = 1024**2
"""The most that is parsed of a page, scripts and styles left out: one all of tags takes 300 times that in memory."""
_CODE: Final = re.compile(r"<(script|style|svg)\b", re.IGNORECASE)
_CODE_ENDS: Final = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style", "svg")}
_CONTROLS: Final = dict.fromkeys(set(range(32)) - set(b"\t\n\r\f"))
_GAPS: Final = re.compile(r"\n{3,}")


class _Converter(MarkdownConverter):
    """Keeps the bars in a cell from being taken for its borders."""

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

    def convert_th(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]


def read_html(data: bytes, output: TextOutput) -> None:
    page = decode(data, output, declared_encoding(data))
    page = _without_code(page.translate(_CONTROLS))
    # Of a text, nothing has to be guessed: the guessing takes quadratic time.
    soup = BeautifulSoup(page[:MAX_CHARS], "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    for element in soup(_INVISIBLE):
        element.decompose()
    if title:
        output.line(f"[title] {title}")
        output.blank()
    text = _Converter(heading_style="ATX", bullets="-", escape_misc=False).convert_soup(soup)
    output.line(_GAPS.sub("\n\n", text).strip())
    if len(page) > MAX_CHARS:
        output.cut(f"cut off here: only the first {megabytes(MAX_CHARS)} of the page were read")


def _without_code(page: str) -> str:
    """The page without what makes most pages large and would only be thrown away, in linear time."""
    pieces: list[str] = []
    position = kept_to = 0
    unclosed: set[str] = set()
    while (opening := _CODE.search(page, position)) is not None:
        name, position = opening[1].lower(), opening.end()
        if name in unclosed:
            continue
        closing = _CODE_ENDS[name].search(page, position)
        if closing is None:
            unclosed.add(name)
            continue
        pieces.append(page[kept_to : opening.start()])
        position = kept_to = closing.end()
    return "".join([*pieces, page[kept_to:]])
