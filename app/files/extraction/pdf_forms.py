"""What was filled in and written onto a PDF: the values of its form's fields, and its annotations."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from pypdf import PageObject, PdfReader
from pypdf.errors import PyPdfError
from pypdf.generic import ArrayObject, DictionaryObject, StreamObject

from app.files.extraction.xml import parsed

_ODD: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, NotImplementedError, PyPdfError)
_ON: Final = ("yes", "on", "1", "true", "ja", "oui", "x")
_LEFT_OUT: Final = ("/Widget", "/Link", "/Popup")
_RADIO: Final = 1 << 15
_PUSH_BUTTON: Final = 1 << 16
MAX_DEPTH: Final = 32
MAX_FIELDS: Final = 10_000


class Form:
    """The fields of a file; each value is shown once, on its page if it has one. What is odd is left out."""

    def __init__(self, reader: PdfReader) -> None:
        self._form: Any = None
        with suppress(*_ODD):
            self._form = _object(reader.root_object.get("/AcroForm"))
        self._shown: set[str] = set()

    def lines_of(self, page: PageObject) -> Iterator[str]:
        """The values and the annotations on a page."""
        annotations: list[Any] = []
        with suppress(*_ODD):
            annotations = list(_object(page.get("/Annots")) or [])
        for reference in annotations[:MAX_FIELDS]:
            line = ""
            with suppress(*_ODD):
                line = self._line(_object(reference))
            if line:
                yield line

    def other_lines(self) -> Iterator[str]:
        """The values of fields that are on no page, and of forms in XML (XFA)."""
        if not isinstance(self._form, DictionaryObject):
            return
        lines: list[str] = []
        with suppress(*_ODD):
            fields = _fields(_object(self._form.get("/Fields")) or [], 0)
            lines = [line for field in fields if (line := self._field_line(field))]
        yield from lines
        if "/XFA" in self._form:
            lines = []
            with suppress(*_ODD):
                lines = list(_xfa_lines(_object(self._form["/XFA"])))
            yield from (line for line in lines[:MAX_FIELDS] if line not in self._shown)
            yield "[form: it is made with XFA, of which only values are shown]"

    def _line(self, annotation: Any) -> str:
        if not isinstance(annotation, DictionaryObject):
            return ""
        kind = annotation.get("/Subtype")
        if kind == "/Widget":
            return self._field_line(annotation)
        text = "" if kind in _LEFT_OUT else _words(annotation.get("/Contents"))
        return f"[{'text' if kind == '/FreeText' else 'note'}] {text}" if text else ""

    def _field_line(self, field: DictionaryObject) -> str:
        text = _value(field)
        line = f"[form] {_name(field)}: {text}"
        if not text or line in self._shown:
            return ""
        self._shown.add(line)
        return line


def _object(value: Any) -> Any:
    return None if value is None else value.get_object()


def _fields(fields: Any, depth: int) -> Iterator[DictionaryObject]:
    """The fields at the ends of the tree."""
    if depth > MAX_DEPTH:
        return
    for reference in list(fields)[:MAX_FIELDS]:
        field = _object(reference)
        if not isinstance(field, DictionaryObject):
            continue
        kids = [kid for kid in _object(field.get("/Kids")) or [] if "/T" in (_object(kid) or {})]
        if kids:
            yield from _fields(kids, depth + 1)
        else:
            yield field


def _inherited(field: DictionaryObject, key: str) -> Any:
    current: Any = field
    for _ in range(MAX_DEPTH):
        if not isinstance(current, DictionaryObject):
            return None
        if key in current:
            return _object(current[key])
        current = _object(current.get("/Parent"))
    return None


def _name(field: DictionaryObject) -> str:
    """The field's label for people, or else its full name."""
    label = _words(_inherited(field, "/TU"))
    names: list[str] = []
    current: Any = field
    while not label and isinstance(current, DictionaryObject) and len(names) < MAX_DEPTH:
        names.insert(0, _words(current.get("/T")))
        current = _object(current.get("/Parent"))
    return label or ".".join(name for name in names if name) or "field"


def _value(field: DictionaryObject) -> str:
    kind, value = _inherited(field, "/FT"), _inherited(field, "/V")
    if kind == "/Btn":
        return _button(field, value)
    if kind == "/Sig":
        return "signed" if value is not None else ""
    if isinstance(value, ArrayObject):
        return ", ".join(text for each in value if (text := _choice(field, _words(each))))
    if isinstance(value, StreamObject):
        return " ".join(value.get_data().decode("utf-8", "replace").split())
    text = _words(value)
    return _choice(field, text) if kind == "/Ch" else text


def _button(field: DictionaryObject, value: Any) -> str:
    """☒ and ☐; the name of the choice where that says more."""
    flags = _inherited(field, "/Ff")
    flags = flags if isinstance(flags, int) else 0
    if flags & _PUSH_BUTTON:
        return ""
    state = (_words(field.get("/AS")) or _words(value)).lstrip("/")
    if not state or state == "Off":
        return "" if flags & _RADIO else "☐"
    return "☒" if state.lower() in _ON and not flags & _RADIO else f"☒ {state}"


def _choice(field: DictionaryObject, text: str) -> str:
    """The words for a choice, which may be stored as a code."""
    for option in _inherited(field, "/Opt") or []:
        pair = _object(option)
        if isinstance(pair, ArrayObject) and len(pair) == 2 and _words(pair[0]) == text:
            return _words(pair[1])
    return text


def _words(value: Any) -> str:
    value = _object(value)
    if value is None:
        return ""
    return " ".join((value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).split())


def _xfa_lines(xfa: Any) -> Iterator[str]:
    """The values in the datasets of a form in XML."""
    streams = [xfa]
    if isinstance(xfa, ArrayObject):
        streams = [_object(part) for label, part in zip(xfa[::2], xfa[1::2], strict=False) if str(label) == "datasets"]
    for stream in streams:
        root = parsed(stream.get_data())
        for element in [] if root is None else root.iter():
            if isinstance(element.tag, str) and not len(element) and element.text and element.text.strip():
                yield f"[form] {element.tag.rpartition('}')[2]}: {' '.join(element.text.split())}"
