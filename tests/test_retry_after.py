"""`Retry-After`: seconds or a date, which is in GMT even where it does not say so."""

import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from app.retry_after import parse_retry_after


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-5", 0.0), ("9" * 20, 86_400.0), (formatdate(0, usegmt=True), 0.0)],
)
def test_seconds_or_a_date_that_is_past(header: str, seconds: float) -> None:
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "soon", "1, 2", "nan", "inf", "-inf", "1e999"),
        "Mon, 99 Foo 2024 00:00:00 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +9999999999999",
    ],
)
def test_what_is_neither(header: str | None) -> None:
    assert parse_retry_after(header) is None


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("zone", [" GMT", " -0000", ""])
def test_a_date_is_in_gmt(zone: str) -> None:
    header = formatdate(time.time() + 60, usegmt=True).removesuffix(" GMT") + zone
    assert parse_retry_after(header) == pytest.approx(60, abs=2)
