"""Conditional and range requests, as RFC 9110 wants them (sections 13.2.2 and 14.2)."""

import re
from dataclasses import dataclass
from datetime import datetime

from werkzeug.datastructures import Headers, Range
from werkzeug.http import parse_date, parse_etags, parse_if_range_header, parse_range_header

from app.errors import AppError, RangeNotSatisfiable


class PreconditionFailed(AppError):
    """The caller wants it only as it is no longer, or never was."""

    status = 412
    code = "precondition_failed"


@dataclass(frozen=True, slots=True)
class Representation:
    """What the path has now: a strong `etag` without its quotes, when it changed, its size in bytes."""

    etag: str
    modified: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What to answer with: `status` 200 (all), 206 (a part) or 304 (nothing new), and the bytes `start` to `end`."""

    status: int
    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def select(method: str, headers: Headers, present: Representation) -> Selection:
    """What a GET or HEAD with these headers gets of `present`. Raises PreconditionFailed, RangeNotSatisfiable."""
    modified = present.modified.replace(microsecond=0)  # dates in HTTP know no less
    if "If-Match" in headers:
        if not parse_etags(headers["If-Match"]).contains(present.etag):
            raise PreconditionFailed("The attachment is not the one that If-Match names")
    elif (date := parse_date(headers.get("If-Unmodified-Since"))) is not None and modified > date:
        raise PreconditionFailed("The attachment has changed since the time in If-Unmodified-Since")
    if "If-None-Match" in headers:
        if parse_etags(headers["If-None-Match"]).contains_weak(present.etag):
            return Selection(304, 0, 0)
    elif (date := parse_date(headers.get("If-Modified-Since"))) is not None and modified <= date:
        return Selection(304, 0, 0)
    whole = Selection(200, 0, present.size)
    wanted = headers.get("Range")
    if method != "GET" or wanted is None or not _if_range_holds(headers.get("If-Range"), present.etag, modified):
        return whole
    if re.fullmatch(r"\s*bytes\s*=\s*-0+\s*", wanted, re.IGNORECASE):
        raise _not_satisfiable(present.size)  # the last 0 bytes: werkzeug does not know what to make of them
    ranges = parse_range_header(wanted)
    if ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return whole  # what cannot be understood, or would take many parts to answer, is as if it were not there
    return _part(ranges, present.size)


def _if_range_holds(value: str | None, etag: str, modified: datetime) -> bool:
    if value is None:
        return True
    condition = parse_if_range_header(value)
    if condition.date is not None:
        return condition.date == modified
    return condition.etag == etag and not value.strip().startswith("W/")


def _part(ranges: Range, size: int) -> Selection:
    start, end = ranges.ranges[0]
    if start < 0:  # the last so many bytes; more than there are means all
        start, end = max(start + size, 0), size
    if start >= size:
        raise _not_satisfiable(size)
    return Selection(206, start, size if end is None else min(end, size))


def _not_satisfiable(size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(
        f"The attachment has {size} bytes", headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
    )
