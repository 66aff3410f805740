"""The size of a JSON text's values, before any of them is made.

A value may take thirty times the bytes of its text, and the parser cannot be interrupted. The scan takes a text in
slices: its own memory does not grow with the text, and other threads run in between.
"""

from collections.abc import Sequence
from typing import Final

from app.errors import BadRequest, PayloadTooLarge

MAX_DEPTH: Final = 32
MAX_CONTAINERS: Final = 100_000
"""Objects and lists, of 230 bytes each."""
MAX_COMMAS: Final = 500_000
MAX_STRINGS: Final = 1_000_000
MAX_ESCAPES: Final = 4_000_000
MAX_SYNTAX_BYTES: Final = 4 * 1024**2
"""All but strings. A MiB of numbers with 4,000 digits each takes 20 ms."""
MAX_TEXT_BYTES: Final = 16 * 1024**2
"""Strings with characters beyond ASCII, one of which makes the whole string four times as large in memory. The base64
of a file has none."""

_SLICE_BYTES: Final = 64 * 1024
_OPENING: Final = frozenset(b"[{")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def check_json(data: bytes | bytearray) -> None:
    """Check the depth and the size of the values in a JSON text, which is not parsed.

    Raises BadRequest for a text that is nested too deep, and PayloadTooLarge for one with too many values.
    """
    scan = _Scan()
    start = 0
    while start < len(data):
        end = _end_of_slice(data, start)
        scan.take(data[start:end])
        start = end


def _end_of_slice(data: bytes | bytearray, start: int) -> int:
    """The end of the slice from `start` on, which cuts no escape in two."""
    end = min(start + _SLICE_BYTES, len(data))
    backslashes = end - start - len(data[start:end].rstrip(b"\\"))
    return end + backslashes % 2


class _Scan:
    """The counts of a text so far."""

    def __init__(self) -> None:
        self._depth = self._containers = self._commas = self._strings = self._escapes = 0
        self._syntax_bytes = self._text_bytes = 0
        self._in_string = False
        # Of the string that goes on: its bytes so far, and whether they are all ASCII.
        self._string_bytes = 0
        self._is_ascii = True

    def take(self, piece: bytes | bytearray) -> None:
        if (escapes := piece.count(b"\\")) > 0:
            self._escapes += escapes
            # A backslash that is left by the first replacement is the last of its run.
            piece = piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        parts = piece.split(b'"')
        strings, syntax = (parts[::2], parts[1::2]) if self._in_string else (parts[1::2], parts[::2])
        self._in_string ^= len(parts) % 2 == 0
        self._strings += len(strings)
        if self._is_ascii and piece.isascii() and b"\\u" not in piece:
            carried = self._string_bytes if len(strings) == 1 else 0
            self._string_bytes = carried + len(strings[-1]) if self._in_string else 0
        else:
            self._take_strings(strings)
        self._take_syntax(b"".join(syntax))
        self._check_counts()

    def _take_strings(self, parts: Sequence[bytes | bytearray]) -> None:
        """Count parts of strings; the first may have begun in an earlier slice, and the last may end in a later one."""
        last = len(parts) - 1
        for index, part in enumerate(parts):
            self._string_bytes += len(part)
            self._is_ascii = self._is_ascii and part.isascii() and b"\\u" not in part
            if index < last or not self._in_string:
                self._text_bytes += 0 if self._is_ascii else self._string_bytes
                self._string_bytes, self._is_ascii = 0, True

    def _take_syntax(self, syntax: bytes) -> None:
        self._syntax_bytes += len(syntax)
        self._commas += syntax.count(b",")
        brackets = syntax.translate(None, _NOT_BRACKETS)
        self._containers += brackets.count(b"[") + brackets.count(b"{")
        for bracket in brackets:
            self._depth += 1 if bracket in _OPENING else -1
            if self._depth > MAX_DEPTH:
                raise BadRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels", code="invalid_json")

    def _check_counts(self) -> None:
        text_bytes = self._text_bytes + (0 if self._is_ascii else self._string_bytes)
        for count, limit, name in (
            (self._containers, MAX_CONTAINERS, "objects and lists"),
            (self._commas, MAX_COMMAS, "values"),
            (self._strings, MAX_STRINGS, "strings"),
            (self._escapes, MAX_ESCAPES, "escapes"),
            (self._syntax_bytes, MAX_SYNTAX_BYTES, "bytes outside of strings"),
            (text_bytes, MAX_TEXT_BYTES, "bytes of text beyond ASCII"),
        ):
            if count > limit:
                raise PayloadTooLarge(f"The JSON has more than {limit} {name}")
