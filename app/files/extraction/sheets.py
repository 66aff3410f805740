"""XLSX by openpyxl, row by row: each sheet with its name, as a table of the last computed values."""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from io import BytesIO
from itertools import zip_longest
from typing import IO, Any, Final

from defusedxml import ElementTree
from openpyxl import load_workbook
from openpyxl.reader.excel import ExcelReader

from app.files.extraction.models import BROKEN, Reason, Unreadable
from app.files.extraction.output import TextOutput, table_row

_FORMULA: Final = re.compile(rb"<(?:\w+:)?f[\s/>]")
_MARGINS: Final = re.compile(rb"<(?:(\w+):)?headerFooter\b.*?</(?:\w+:)?headerFooter>", re.DOTALL)
# &L &C &R begin the left, middle and right parts; &"font", &12, &Kff0000 and &B change the writing.
_MARGIN_CODES: Final = re.compile(r'&"[^"]*"|&\d+|&K[0-9A-Fa-f]{6}|&[LCRBIUESXYHOG]')
_MARGIN_FIELDS: Final = {
    "&P": "(page)",
    "&N": "(pages)",
    "&D": "(date)",
    "&T": "(time)",
    "&F": "(file)",
    "&A": "(sheet)",
}
MAX_ROWS: Final = 1_048_576
"""As many as the format admits."""
BLOCK_BYTES: Final = 1024**2
TAIL_BYTES: Final = 64 * 1024


def read_xlsx(data: bytes, output: TextOutput) -> None:
    reader = ExcelReader(BytesIO(data), read_only=True, data_only=True, keep_links=False)
    reader.read()
    parts = {sheet.name: relationship.target for sheet, relationship in reader.parser.find_sheets()}
    formulas = None
    for sheet in reader.wb.worksheets:
        output.sheets.append(sheet.title)
        with reader.archive.open(parts[sheet.title]) as part:
            has_formulas, margins = _scan(part)
        if has_formulas and formulas is None:
            formulas = load_workbook(BytesIO(data), read_only=True, keep_links=False)
        output.blank()
        output.mark(f"## Sheet: {sheet.title}" + ("" if sheet.sheet_state == "visible" else " (hidden)"))
        for margin in margins:
            output.line(margin)
        output.blank()
        _read_sheet(sheet, formulas[sheet.title] if formulas is not None and has_formulas else None, output)


def _read_sheet(sheet: Any, formulas: Any, output: TextOutput) -> None:
    # The declared size of a sheet is often wrong, and would be filled up with empty cells.
    sheet.reset_dimensions()
    rows: Iterator[Any] = sheet.iter_rows(values_only=True)
    if formulas is not None:
        formulas.reset_dimensions()
        rows = (_with_formulas(*pair) for pair in zip(rows, formulas.iter_rows(values_only=True), strict=False))
    after_gap, is_first = False, True
    for number, values in enumerate(rows, 1):
        if number > MAX_ROWS:
            # Gaps between rows are filled up: one number in a file could go on for ever.
            raise Unreadable(Reason.BROKEN, f"{BROKEN}: a sheet has more than {MAX_ROWS:,} rows")
        cells = [_as_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            after_gap = not is_first
            continue
        output.place = f"row {number:,} of the sheet “{sheet.title}”"
        if after_gap:
            # Tables below each other on one sheet stay apart.
            output.blank()
        output.line(table_row(cells))
        if is_first:
            output.mark("|" + " --- |" * len(cells))
        after_gap, is_first = False, False


def _with_formulas(values: tuple[Any, ...], formulas: tuple[Any, ...]) -> list[Any]:
    """Values, or formulas without a computed value: libraries write workbooks without computing them."""
    return [formula if value is None else value for value, formula in zip_longest(values, formulas)]


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return f"{value:.15g}"
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case str() | int():
            return str(value)
        case _:
            # Array and table formulas are objects that hold their text.
            return str(getattr(value, "text", None) or getattr(value, "ref", ""))


def _scan(part: IO[bytes]) -> tuple[bool, list[str]]:
    """Whether a sheet has formulas, and its headers and footers; openpyxl tells neither while it streams."""
    has_formulas, tail = False, b""
    while block := part.read(BLOCK_BYTES):
        tail = tail[-TAIL_BYTES:] + block
        has_formulas = has_formulas or _FORMULA.search(tail) is not None
    return has_formulas, _margins(tail[-TAIL_BYTES:])


def _margins(tail: bytes) -> list[str]:
    match = _MARGINS.search(tail)
    if match is None:
        return []
    xml, prefix = match[0], match[1]
    if prefix is not None:
        xml = xml.replace(b"<" + prefix + b":", b"<").replace(b"</" + prefix + b":", b"</")
    texts: dict[str, None] = {}
    for element in ElementTree.fromstring(xml):
        text = element.text or ""
        for code, name in _MARGIN_FIELDS.items():
            text = text.replace(code, name)
        text = " ".join(_MARGIN_CODES.sub(" ", text).split())
        if text:
            texts[f"[{'header' if element.tag.endswith('Header') else 'footer'}] {text}"] = None
    return list(texts)
