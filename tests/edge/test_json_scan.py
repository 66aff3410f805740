"""Checks of JSON texts before they are parsed: depth and counts, without the work or the memory of parsing."""

import json
import time
import tracemalloc
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from app.edge.bodies import parse_json_object
from app.edge.json_scan import (
    MAX_COMMAS,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_ESCAPES,
    MAX_STRINGS,
    MAX_SYNTAX_BYTES,
    MAX_TEXT_BYTES,
    check_json,
)
from app.errors import AppError, BadRequest, PayloadTooLarge

MIB = 1024**2
PIECES = ('"', "\\", "[", "{", "]", "}", ",", "é", "😀", "\n", "x" * 300, "\\u0041")


def random_value(random: Random, depth: int) -> Any:
    if depth > 1 and random.random() < 0.9:
        items = [random_value(random, depth - 1), *("".join(random.choices(PIECES, k=40)) for _ in range(4))]
        random.shuffle(items)
        return items if random.random() < 0.5 else {str(item)[:50]: item for item in items}
    return "".join(random.choices(PIECES, k=30))


def depth_of(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(depth_of, items), default=0)


@pytest.mark.parametrize("seed", range(8))
def test_a_text_is_as_deep_as_its_value_is(seed: int) -> None:
    """Strings full of quotes, backslashes and brackets lie across every boundary of what is scanned at once."""
    random = Random(seed)
    for _ in range(20):
        value = {"padding": "\\" * random.randrange(70_000), "v": random_value(random, random.randrange(28, 37))}
        text = json.dumps(value, ensure_ascii=random.random() < 0.5).encode()
        try:
            check_json(text)
            is_admitted = True
        except BadRequest as error:
            assert "nested deeper" in error.message
            is_admitted = False
        assert is_admitted is (depth_of(value) <= MAX_DEPTH)


@pytest.mark.parametrize(
    ("text", "is_admitted"),
    [
        (b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"0]", True),
        (b"[" + b"[]," * (MAX_CONTAINERS + 1) + b"0]", False),
        (b"[" + b"0," * MAX_COMMAS + b"0]", True),
        (b"[" + b"0," * (MAX_COMMAS + 1) + b"0]", False),
        (b'""' * (MAX_STRINGS + 1), False),
        (b'["' + b"\\n" * MAX_ESCAPES + b'"]', True),
        (b'["' + b"\\n" * (MAX_ESCAPES + 1) + b'"]', False),
        (b"[" + b" " * (MAX_SYNTAX_BYTES - 2) + b"]", True),
        (b"[" + b" " * MAX_SYNTAX_BYTES + b"]", False),
        (b'["' + "é".encode() * (MAX_TEXT_BYTES // 2) + b'"]', True),
        (b'["' + "é".encode() * (MAX_TEXT_BYTES // 2 + 1) + b'"]', False),
        (b'["' + b"x" * MAX_TEXT_BYTES + b'\\u00e9"]', False),
        (b'["' + "é".encode() + b'","' + b"x" * (3 * MAX_TEXT_BYTES) + b'"]', True),  # a file beside a text
        (b'["\\\\u' + b"x" * (2 * MAX_TEXT_BYTES) + b'"]', True),
    ],
    ids=range(14),
)
def test_values_are_counted(text: bytes, is_admitted: bool) -> None:
    if is_admitted:
        check_json(text)
    else:
        with pytest.raises(PayloadTooLarge):
            check_json(text)


HOSTILE = {
    "brackets in strings": b'{"a":["' + b"[{" * (8 * MIB) + b'"]}',
    "one long string": b'{"a":[' + b"{}," * 40 + b'"' + b"x" * (16 * MIB) + b'"]}',
    "backslashes": b'{"a":[' + b"{}," * 40 + b'"' + b"\\\\" * (2 * MIB) + b'"]}',
    "quotes": b'"' * (3 * MIB),
    "an open string": b'{"a":[' + b"{}," * 40 + b'"' + b"\\" * (16 * MIB),
    "lists": b'{"a":[' + b"[]," * (4 * MIB) + b"0]}",
    "keys": b'{"a":[{},' + b",".join(b'{"%d":0}' % n for n in range(400_000)) + b"]}",
    "small numbers": b'{"a":[' + b"5e-324," * 500_000 + b"0]}",
    "long numbers": b'{"a":[' + (b"9" * 4000 + b",") * 1000 + b"0]}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_costs_little_memory_and_time(name: str) -> None:
    text = HOSTILE[name]
    tracemalloc.start()
    with suppress(AppError):
        check_json(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * MIB
    start = time.thread_time()
    with suppress(AppError):
        parse_json_object(text)
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1e400"])
def test_a_number_out_of_range_is_refused(number: str) -> None:
    with pytest.raises(BadRequest):
        parse_json_object(f'{{"a":{number}}}')


@pytest.mark.parametrize("number", ["1.5", "5e-324", "1e308", "-0.0", "0.1", "2.2250738585072011e-308", "1E+2"])
def test_numbers_have_their_exact_value(number: str) -> None:
    assert parse_json_object(f'{{"a":{number}}}') == {"a": float(number)}
