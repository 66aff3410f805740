"""Log lines, caught."""

import io
from collections.abc import Iterator

import pytest

from tests.support.logs import logging_to


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """JSON log lines, as they are written."""
    stream = io.StringIO()
    with logging_to(stream):
        yield stream
