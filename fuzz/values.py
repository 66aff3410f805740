"""JSON, and what is nearly JSON."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\ud83d", "\x00", "\u2028"]),
)


def json_values(names: SearchStrategy[str], words: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Generate values whose objects have these names, among others."""
    return st.recursive(
        _leaves | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4),
        max_leaves=10,
    )


def nearly_json(values: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    """Encode values as JSON of several styles, some of it damaged, and some of it nested very deeply."""
    texts = st.builds(_encode, values, st.sampled_from([None, 1]), st.booleans())
    return st.one_of(texts, texts, texts, st.builds(_damage, texts, st.integers(0, 500), st.binary(max_size=3)), _deep)


def _encode(value: Any, indent: int | None, ensure_ascii: bool) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii).encode(errors="surrogatepass")


def _damage(data: bytes, place: int, rubbish: bytes) -> bytes:
    place %= len(data) + 1
    return data[:place] + rubbish + data[place + 1 :]


_deep = st.builds(
    lambda start, count, end: start * count + end,
    st.sampled_from([b"[", b'{"a":', b'{"choices":[', b'{"error":', b'{"message":', b'{"content":[']),
    st.sampled_from([5, 31, 33, 200, 990, 5000, 100_000]),
    st.sampled_from([b"", b"1", b"}", b"]"]),
)
