"""The arguments of calls, checked against the schemas of their tools.

Schemas come from other people's servers: patterns match in linear time, and references to other documents are refused.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jsonschema_rs
import msgspec

from app.tools.models import ToolError, ToolSpec

MAX_ARGUMENT_CHARS = 64 * 1024
MAX_PROBLEM_CHARS = 1_000


class _Validator(Protocol):
    def validate(self, instance: Any) -> None: ...


class ArgumentChecker:
    """Parses and checks arguments; the schema of each tool is compiled once."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[ToolSpec, _Validator | None]] = {}

    def check(self, spec: ToolSpec, arguments: str) -> Mapping[str, Any]:
        """Return the arguments in the JSON text that a model wrote. Raises ToolError unless they follow the schema."""
        values = _parse(arguments)
        if (validator := self._validator_of(spec)) is not None:
            try:
                validator.validate(values)
            except jsonschema_rs.ValidationError as error:
                path = "/".join(str(step) for step in error.instance_path)
                problem = f"{path}: {error.message}" if path else error.message
                raise ToolError(f"The arguments do not follow the schema: {problem}"[:MAX_PROBLEM_CHARS]) from None
        return values

    def _validator_of(self, spec: ToolSpec) -> _Validator | None:
        """The compiled schema; None for one that is none, whose server has to judge the arguments itself."""
        cached_spec, validator = self._validators.get(spec.name, (None, None))
        if cached_spec is not spec:
            try:
                validator = jsonschema_rs.validator_for(
                    dict(spec.parameters), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
                )
            except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
                validator = None
            self._validators[spec.name] = spec, validator
        return validator


def _parse(arguments: str) -> Mapping[str, Any]:
    if len(arguments) > MAX_ARGUMENT_CHARS:
        raise ToolError(f"The arguments have more than {MAX_ARGUMENT_CHARS} characters")
    try:
        values = msgspec.json.decode(arguments.strip() or "{}")
    except msgspec.DecodeError as error:
        raise ToolError(f"The arguments are not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ToolError("The arguments must be a JSON object")
    return values


def _refuse(uri: str) -> Any:
    raise ValueError(f"references to other documents are refused: {uri}")
