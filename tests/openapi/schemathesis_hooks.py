"""What schemathesis.toml adds to Schemathesis, which loads this file by its path."""

import re
from typing import Any

import schemathesis

EVENT_STREAM = "text/event-stream"
_RUN_ID = re.compile(rb'"run_id":"([0-9a-f-]{36})"')

_run_ids: list[str] = []


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Hold each event of a stream against ChatEvent, and send no control characters.

    The seed's document calls a stream a string, and ours must too; Schemathesis takes that for each event's schema. The
    patterns leave U+0080 to U+009F out, for generators' sake; the server refuses those as well.
    """
    _complete_patterns(raw_schema)
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for answer in operation.get("responses", {}).values() if isinstance(operation, dict) else ():
                if stream := answer.get("content", {}).get(EVENT_STREAM):
                    event = {"contentMediaType": "application/json", "contentSchema": stream["x-event-schema"]}
                    stream["schema"] = {"type": "object", "properties": {"data": {"type": "string", **event}}}


def _complete_patterns(value: Any) -> None:
    if isinstance(value, dict):
        if isinstance(pattern := value.get("pattern"), str):
            value["pattern"] = pattern.replace(r"\x7f", r"\x7f-\x9f")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _complete_patterns(each)


@schemathesis.hook
def after_call(_context: Any, _case: Any, response: Any) -> None:
    """Remember the runs that were made: their ids come in events, where nothing else would find them."""
    _run_ids.extend(found.decode() for found in _RUN_ID.findall(response.content or b""))


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ask for a run that there is."""
    if path_parameters and "run_id" in path_parameters and _run_ids:
        return {**path_parameters, "run_id": _run_ids[-1]}
    return path_parameters
