"""JSON as some model servers write it: with NaN, halves of surrogate pairs, raw control characters, invalid UTF-8."""

import json
import math
from typing import Any

import msgspec

_MAX_INT_DIGITS = 18


def decode(data: bytes) -> Any:
    """The value of JSON, or of what is nearly JSON. Raises ValueError, RecursionError.

    What JSON has no word for becomes null, and text that is not Unicode gets replacement characters, so that the value
    can be encoded again.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = data.decode(errors="replace")
        value = json.loads(text, strict=False, parse_constant=lambda _: None, parse_float=_fraction, parse_int=_integer)
        return _clean(value)


def encode(value: Any) -> bytes:
    """The JSON of a value that `decode` returned, in one line. Raises RecursionError."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _integer(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _MAX_INT_DIGITS else _fraction(digits)


def _fraction(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {_clean(name): _clean(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
