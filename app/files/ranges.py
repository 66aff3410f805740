"""Conditional and range requests by RFC 9110 (sections 13.2.2 and 14.2).

Quart's `make_conditional` does not serve: it reads a stream into memory to cut it, refuses several ranges and suffixes
longer than the file, evaluates `Range` before `If-None-Match`, and does not know `If-Unmodified-Since`.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from werkzeug.datastructures import Headers, Range
from werkzeug.http import parse_date, parse_etags, parse_if_range_header, parse_range_header

from app.errors import PreconditionFailed, RangeNotSatisfiable
from app.files.models import Attachment


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer: `status` 200 (all), 206 (a part) or 304 (not modified), and the bytes `start` to `end`."""

    status: int
    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def select(method: str, headers: Headers, attachment: Attachment) -> Selection:
    """Select the bytes for a GET or HEAD. Raises PreconditionFailed, RangeNotSatisfiable."""
    modified = attachment.created_at.replace(microsecond=0)  # HTTP dates have whole seconds
    if "If-Match" in headers:
        if not parse_etags(headers["If-Match"]).contains(attachment.sha256):
            raise PreconditionFailed("The attachment is not the one that If-Match names")
    elif (date := parse_date(headers.get("If-Unmodified-Since"))) is not None and modified > date:
        raise PreconditionFailed("The attachment has changed since the time in If-Unmodified-Since")
    if "If-None-Match" in headers:
        if parse_etags(headers["If-None-Match"]).contains_weak(attachment.sha256):
            return Selection(304, 0, 0)
    elif (date := parse_date(headers.get("If-Modified-Since"))) is not None and modified <= date:
        return Selection(304, 0, 0)
    complete = Selection(200, 0, attachment.size)
    if method != "GET" or not _if_range_holds(headers.get("If-Range"), attachment.sha256, modified):
        return complete
    value = headers.get("Range", "")
    if re.fullmatch(r"\s*bytes\s*=\s*-0+\s*", value, re.IGNORECASE):
        raise _not_satisfiable(attachment.size)  # the last 0 bytes, which werkzeug does not parse
    ranges = parse_range_header(value)
    if ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return complete  # ranges that are unknown, or would need a multipart answer, are ignored
    return _part(ranges, attachment.size)


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
