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

from app.files.extraction.attachments import attached
from app.files.extraction.decoration import sheet_names, without_decoration
from app.files.extraction.models import BROKEN, Reason, Unreadable
from app.files.extraction.output import TextOutput, table_row

_FORMULA: Final = re.compile(rb"<(?:\w+:)?f[\s/>]")
_MARGINS: Final = re.compile(rb"<(?:(\w+):)?headerFooter\b")
_MARGINS_END: Final = re.compile(rb"</(?:\w+:)?headerFooter>")
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
_ODD: Final = (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError)
MAX_ROWS: Final = 1_048_576
"""As many as the format admits."""
BLOCK_BYTES: Final = 1024**2
TAIL_BYTES: Final = 64 * 1024


def read_xlsx(data: bytes, output: TextOutput) -> None:
    try:
        reader = _opened(data)
    except _ODD:
        # Colours, fonts, properties and names are of no use here, and odd in many files.
        names = sheet_names(data)
        data = without_decoration(data)
        reader = _opened(data)
        missing = [name for name in names if name not in reader.wb.sheetnames]
        output.notes.extend(f"the sheet “{name}” is missing in the file" for name in missing)
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
        try:
            _read_sheet(sheet, formulas[sheet.title] if formulas is not None and has_formulas else None, output)
        except _ODD:
            if len(parts) == 1:
                raise
            output.mark("[sheet: the rest of it cannot be read]")
        for line in attached(reader.archive, parts[sheet.title]):
            output.line(line)
    for name, part_name in parts.items():
        if name not in reader.wb.sheetnames or name in {sheet.title for sheet in reader.wb.chartsheets}:
            output.blank()
            output.mark(f"## Sheet: {name}")
            for line in attached(reader.archive, part_name) or ["[chart]"]:
                output.mark(line)


def _opened(data: bytes) -> ExcelReader:
    reader = ExcelReader(BytesIO(data), read_only=True, data_only=True, keep_links=False)
    reader.read()
    return reader


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
    opening = _MARGINS.search(tail)
    closing = _MARGINS_END.search(tail, opening.end()) if opening is not None else None
    if opening is None or closing is None:
        return []
    xml, prefix = tail[opening.start() : closing.end()], opening[1]
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
