"""The text under construction, cut at a limit, with a note of the place."""

from collections.abc import Iterable, Sequence

from app.files.extraction.models import ExtractedText


class Full(Exception):
    """The text has reached its limit."""


class TextOutput:
    """Lines of at most `limit` characters in all, line ends counted; raises Full beyond.

    Readers keep `place` (`page 3 of 20`) up to date, and add to `notes` what the model should know.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._lines: list[str] = []
        self.has_text = False
        """Whether there is any text of the document itself, beside marks."""
        self.place = ""
        self.pages: int | None = None
        self.sheets: list[str] = []
        self.notes: list[str] = []
        self._full = False
        self._cut = False

    def mark(self, line: str) -> None:
        """Add a line of our own: `[page 2]`, the name of a sheet."""
        if len(line) > self._left:
            self._lines.append(line[: self._left])
            self._full = True
            raise Full
        self._lines.append(line)
        self._left -= len(line) + 1

    def line(self, line: str) -> None:
        """Add a line, or several, of the document."""
        self.has_text = self.has_text or (bool(line) and not line.isspace())
        self.mark(line)

    def blank(self) -> None:
        """Add an empty line, but not at the start, nor after another one."""
        if self._lines and self._lines[-1]:
            self.mark("")

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Add rows as a Markdown table, the first one as its head."""
        for index, cells in enumerate(rows):
            self.line(table_row(cells))
            if index == 0:
                self.mark("|" + " --- |" * max(len(cells), 1))

    def cut(self, note: str) -> None:
        """Note that the rest of the document was left out, for another reason than the limit."""
        self._cut = True
        self.notes.append(note)

    def finish(self, kind: str) -> ExtractedText:
        notes = list(self.notes)
        if self._full:
            where = f", up to {self.place}" if self.place else ""
            notes.append(f"cut off here: only the first {self._limit:,} characters are shown{where}")
        text = "\n".join(self._lines).strip("\n").replace("\0", "")
        # Half characters, which broken files bring, could be neither sent nor stored.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return ExtractedText(text, kind, self._full or self._cut, self.pages, tuple(self.sheets), tuple(notes))


def table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
