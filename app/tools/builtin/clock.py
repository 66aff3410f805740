"""The tool `now`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.tools.models import CallContext, ToolError, ToolResult, ToolSpec


class Clock:
    """Tells the date, the time and the zone."""

    timeout_seconds = 5.0
    spec = ToolSpec(
        "now",
        "Tells the present date, weekday and time. Use it whenever the answer depends on what day or time it is.",
        {
            "type": "object",
            "properties": {
                "timezone": {
                    "type": "string",
                    "description": "A zone of the IANA database, such as Europe/Oslo; the server's own if left out.",
                }
            },
            "additionalProperties": False,
        },
    )

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        name = arguments.get("timezone")
        try:
            now = datetime.now(UTC).astimezone(ZoneInfo(name) if name else None)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ToolError(f"There is no time zone {name}") from None
        return ToolResult(f"{now:%A}, {now.isoformat(timespec='seconds')} ({name or now.tzname()})")
