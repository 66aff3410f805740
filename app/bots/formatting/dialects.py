"""Markdown in the dialects of platforms.

Models write CommonMark with GitHub's tables and strikethrough. A dialect is a `Style`: how it writes each kind of
element. `COMMONMARK` platforms take the source as it is, and need none.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

Wrap = Callable[[str], str]


def _as_it_is(text: str) -> str:
    return text


def _link_after(label: str, url: str) -> str:
    return label if not url or label == url else f"{label} ({url})"


@dataclass(frozen=True, slots=True)
class Style:
    """How a dialect writes the elements of a text; `escape` is for the text in between."""

    escape: Wrap = _as_it_is
    bold: Wrap = _as_it_is
    italic: Wrap = _as_it_is
    strike: Wrap = _as_it_is
    code: Wrap = _as_it_is
    block: Callable[[str, str], str] = lambda code, _language: code
    link: Callable[[str, str], str] = _link_after
    heading: Wrap = _as_it_is
    quote: Wrap = lambda text: "\n".join(f"> {line}" for line in text.split("\n"))
    bullet: str = "- "
    rule: str = "———"


def _attribute(text: str) -> str:
    return html.escape(text, quote=True)


def _text(text: str) -> str:
    return html.escape(text, quote=False)


def _telegram_block(code: str, language: str) -> str:
    if not language:
        return f"<pre>{_text(code)}</pre>"
    return f'<pre><code class="language-{_attribute(language)}">{_text(code)}</code></pre>'


PLAIN = Style()
TELEGRAM_HTML = Style(
    escape=_text,
    bold=lambda text: f"<b>{text}</b>",
    italic=lambda text: f"<i>{text}</i>",
    strike=lambda text: f"<s>{text}</s>",
    code=lambda code: f"<code>{_text(code)}</code>",
    block=_telegram_block,
    link=lambda label, url: f'<a href="{_attribute(url)}">{label}</a>' if url else label,
    heading=lambda text: f"<b>{text}</b>",
    quote=lambda text: f"<blockquote>{text}</blockquote>",
    bullet="• ",
)
SLACK_MRKDWN = Style(
    escape=_text,
    bold=lambda text: f"*{text}*",
    italic=lambda text: f"_{text}_",
    strike=lambda text: f"~{text}~",
    code=lambda code: f"`{_text(code)}`",
    block=lambda code, _language: f"```\n{_text(code)}\n```",
    link=lambda label, url: f"<{_text(url).replace('|', '%7C')}|{label}>" if url else label,
    heading=lambda text: f"*{text}*",
    bullet="• ",
)
_URL = re.compile(r"https?://\S+")
_DISCORD_MARK = re.compile(r"([\\*_~`|])")


def _discord_text(text: str) -> str:
    # Addresses are links as they are, and would not be with backslashes in them.
    written, end = [], 0
    for url in _URL.finditer(text):
        written += [_DISCORD_MARK.sub(r"\\\1", text[end : url.start()]), url[0]]
        end = url.end()
    return "".join([*written, _DISCORD_MARK.sub(r"\\\1", text[end:])])


def _code_span(code: str) -> str:
    marks = "``" if "`" in code else "`"
    return f"{marks} {code} {marks}" if "`" in code else f"{marks}{code}{marks}"


def _discord_block(code: str, language: str) -> str:
    # There are no longer fences: one in the code is broken up by a space that nobody sees.
    return f"```{language}\n{code.replace('```', '`' + chr(0x200B) + '``')}\n```"


DISCORD = Style(
    escape=_discord_text,
    bold=lambda text: f"**{text}**",
    italic=lambda text: f"*{text}*",
    strike=lambda text: f"~~{text}~~",
    code=_code_span,
    block=_discord_block,
    link=lambda label, url: f"[{label}]({url})" if url and label != url else label,
    heading=lambda text: f"### {text}",
)


def _code(code: str) -> str:
    mark = "`" * (_longest_run(code) + 1)
    return f"{mark} {code} {mark}" if code.startswith("`") or code.endswith("`") else f"{mark}{code}{mark}"


def _fenced(code: str, language: str) -> str:
    mark = "`" * max(_longest_run(code) + 1, 3)
    return f"{mark}{language}\n{code}\n{mark}"


def _longest_run(code: str) -> int:
    return max((len(run) for run in re.findall("`+", code)), default=0)


SIMPLE_MARKDOWN = Style(
    bold=lambda text: f"**{text}**",
    italic=lambda text: f"*{text}*",
    strike=lambda text: f"~~{text}~~",
    code=_code,
    block=_fenced,
    link=lambda label, url: f"[{label}]({url})" if url else label,
    heading=lambda text: f"**{text}**",
    rule="---",
)
"""Markdown for platforms that know a part of it: without headings and tables."""


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def to_plain(source: str) -> str:
    """Markdown as text without marks."""
    return render(source, PLAIN)


def to_telegram(source: str) -> str:
    """Markdown as Telegram's HTML."""
    return render(source, TELEGRAM_HTML)


def to_mrkdwn(source: str) -> str:
    """Markdown as Slack's mrkdwn."""
    return render(source, SLACK_MRKDWN)


def to_discord(source: str) -> str:
    """Markdown as Discord reads it."""
    return render(source, DISCORD)


def to_html(source: str) -> str:
    """Markdown as HTML, without any HTML of its own."""
    text: str = _parser().render(source)
    return text.strip()


def render(source: str, style: Style) -> str:
    """Write Markdown in a style."""
    return _Writer(style).blocks(_parser().parse(source)).strip("\n")


class _Writer:
    """Writes parsed Markdown in a style: each block is a text, and blocks are parted by blank lines."""

    def __init__(self, style: Style) -> None:
        self._style = style

    def blocks(self, tokens: Sequence[Token], *, tight: bool = False) -> str:
        texts, index = [], 0
        while index < len(tokens):
            end = _end_of(tokens, index)
            text = self._block(tokens[index : end + 1])
            if text:
                texts.append(text)
            index = end + 1
        return ("\n" if tight else "\n\n").join(texts)

    def _block(self, tokens: Sequence[Token]) -> str:
        first, inner, style = tokens[0], tokens[1:-1], self._style
        match first.type:
            case "fence" | "code_block":
                language = first.info.split()[0] if first.info.split() else ""
                return style.block(first.content.rstrip("\n"), language)
            case "hr":
                return style.rule
            case "inline":
                return self._inline(first.children or [])
            case "heading_open":
                return style.heading(self.blocks(inner))
            case "blockquote_open":
                return style.quote(self.blocks(inner))
            case "bullet_list_open" | "ordered_list_open":
                return self._list(first, inner)
            case "table_open":
                return style.block(_table(inner), "")
            case "html_block":
                return style.escape(first.content.rstrip("\n"))
            case _:
                return self.blocks(inner)

    def _list(self, opening: Token, tokens: Sequence[Token]) -> str:
        number = int(opening.attrGet("start") or 1) if opening.type == "ordered_list_open" else None
        lines, index = [], 0
        while index < len(tokens):
            end = _end_of(tokens, index)
            mark = self._style.bullet if number is None else f"{number}. "
            number = None if number is None else number + 1
            text = self.blocks(tokens[index + 1 : end], tight=True)
            lines.append(mark + text.replace("\n", "\n" + " " * len(mark)) if "<pre>" not in text else mark + text)
            index = end + 1
        return "\n".join(lines)

    def _inline(self, tokens: Sequence[Token]) -> str:
        style, written, index = self._style, [], 0
        while index < len(tokens):
            token, end = tokens[index], _end_of(tokens, index)
            inner = tokens[index + 1 : end]
            match token.type:
                case "text" | "html_inline":
                    written.append(style.escape(token.content))
                case "softbreak" | "hardbreak":
                    written.append("\n")
                case "code_inline":
                    written.append(style.code(token.content))
                case "strong_open":
                    written.append(style.bold(self._inline(inner)))
                case "em_open":
                    written.append(style.italic(self._inline(inner)))
                case "s_open":
                    written.append(style.strike(self._inline(inner)))
                case "link_open":
                    written.append(style.link(self._inline(inner), str(token.attrGet("href") or "")))
                case "image":
                    written.append(style.link(style.escape(token.content) or "image", str(token.attrGet("src") or "")))
                case _:
                    written.append(style.escape(token.content))
            index = end + 1
        return "".join(written)


def _end_of(tokens: Sequence[Token], index: int) -> int:
    """Find the token that closes the one at `index`; itself, if it holds no others."""
    depth = 0
    for position in range(index, len(tokens)):
        depth += tokens[position].nesting
        if depth <= 0:
            return position
    return len(tokens) - 1


def _table(tokens: Sequence[Token]) -> str:
    """Write a table with columns of one width."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_Writer(PLAIN).blocks([token]))
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
