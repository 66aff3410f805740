"""JSON bodies of requests: an object, or a typed error."""

from hypothesis import strategies as st

from app.edge.bodies import parse_json_object
from app.edge.json_scan import MAX_DEPTH
from app.errors import BadRequest, PayloadTooLarge
from fuzz.values import json_values, nearly_json

_brackets = st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b'\\"', b'"a":', b",", b"1", b" ", b"\n", b"\xff"]),
    max_size=200,
).map(b"".join)
_long = st.builds(
    lambda piece, count, end: b'{"a":"' + piece * count + end,
    st.sampled_from([b"x", b"\\", b'\\"', b"[", b"{", b"\\u005b", "é".encode()]),
    st.sampled_from([100, 10_000, 1_000_000]),
    st.sampled_from([b'"}', b'"', b"", b'","b":' + b"[" * 40, b'"}' + b"]" * 40]),
)
_bodies = st.one_of(nearly_json(json_values(st.text(max_size=3), st.text(max_size=3))), _brackets, _long)


def check(value: object) -> None:
    assert isinstance(value, bytes)
    try:
        body = parse_json_object(value)
    except (BadRequest, PayloadTooLarge):
        return
    assert isinstance(body, dict)
    assert _depth(body) <= MAX_DEPTH


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


TARGET = (_bodies, check)
