"""Wire types that all doors share."""

from typing import Annotated

from msgspec import Meta

DateTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
