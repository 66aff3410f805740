"""Answers held against the OpenAPI document: what is not documented there must not be answered."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:openapi-document"
CODES = re.compile(r"`([a-z0-9_]+)`")
NOT_ROUTED = {404: "not_found", 405: "method_not_allowed"}


class SpecError(AssertionError):
    """The server answered what its document does not say."""


class SpecValidator:
    """Checks answers and events against one OpenAPI 3.1 document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._registry: Registry[Any] = Registry().with_resource(
            DOCUMENT, Resource.from_contents(dict(document), default_specification=DRAFT202012)
        )
        self._templates = [(_as_pattern(template), template) for template in _literal_first(document["paths"])]
        self._validators: dict[str, Draft202012Validator] = {}

    def check(self, method: str, path: str, status: int, content_type: str | None, body: bytes) -> None:
        """Raises SpecError unless the document says that `method` at `path` (without query) answers this."""
        method = method.lower()
        where = f"{method.upper()} {path} -> {status}"
        template = next((template for pattern, template in self._templates if pattern.fullmatch(path)), "")
        operations = self._document["paths"].get(template, {})
        if method == "options":
            return
        if method == "head" and "head" not in operations and "get" in operations:
            self._check_head(operations["get"], status, body, where)
            return
        if method not in operations:
            self._check_not_routed(status, content_type, body, where)
            return
        pointer = f"/paths/{_escape(template)}/{method}/responses/{status}"
        answer = operations[method]["responses"].get(str(status))
        if answer is None:
            raise SpecError(f"{where}: the status is not documented; body: {body[:300]!r}")
        if "$ref" in answer:
            pointer = answer["$ref"].removeprefix("#")
        self._check_body(pointer, content_type, body, where, is_head=method == "head")
        if status >= 400 and body and template.startswith("/api/v1/"):
            codes = CODES.findall(answer.get("description") or self._at(pointer)["description"])
            if (code := json.loads(body)["code"]) not in codes:
                raise SpecError(f"{where}: the code {code} is not documented, only {', '.join(codes)}")

    def check_event(self, event: object) -> None:
        """Raises SpecError unless the event is one that the component ChatEvent describes, when there is one."""
        if "ChatEvent" in self._document["components"]["schemas"]:
            self._validate("/components/schemas/ChatEvent", event, f"event {event!r}")

    def check_examples(self) -> None:
        """Raises SpecError for an example in the document that does not fit its own schema."""
        for pointer, content in _contents(self._document, ""):
            named = {name: example["value"] for name, example in content.get("examples", {}).items()}
            if "example" in content:
                named["example"] = content["example"]
            for name, value in named.items():
                self._validate(f"{pointer}/schema", value, f"{pointer}: {name}")

    def _check_head(self, get: Mapping[str, Any], status: int, body: bytes, where: str) -> None:
        if str(status) not in get["responses"]:
            raise SpecError(f"{where}: the status is not documented for GET")
        if body:
            raise SpecError(f"{where}: a HEAD has no body")

    def _check_not_routed(self, status: int, content_type: str | None, body: bytes, where: str) -> None:
        if status not in NOT_ROUTED:
            raise SpecError(f"{where}: no such operation is documented")
        # Other doors have other envelopes; the Open API's is everyone's unless the document says otherwise.
        if where.split()[1].startswith("/api/v1/"):
            error = self._json(content_type, body, where)
            self._validate("/components/schemas/ErrorResponse", error, where)
            if error["code"] != NOT_ROUTED[status]:
                raise SpecError(f"{where}: the code is {error['code']}")

    def _check_body(self, pointer: str, content_type: str | None, body: bytes, where: str, *, is_head: bool) -> None:
        content = self._at(pointer).get("content")
        if not content or is_head:
            if body:
                raise SpecError(f"{where}: a body that is not documented: {body[:300]!r}")
            return
        media_type = (content_type or "").partition(";")[0].strip().lower()
        if media_type not in content and "*/*" not in content:
            raise SpecError(f"{where}: {content_type} is not documented, only {', '.join(content)}")
        if media_type == "application/json" and media_type in content:
            value = self._json(content_type, body, where)
            self._validate(f"{pointer}/content/{_escape(media_type)}/schema", value, where)

    def _json(self, content_type: str | None, body: bytes, where: str) -> Any:
        if (content_type or "").partition(";")[0].strip() != "application/json":
            raise SpecError(f"{where}: {content_type} is not JSON")
        try:
            return json.loads(body)
        except ValueError as error:
            raise SpecError(f"{where}: not JSON: {body[:300]!r}") from error

    def _validate(self, pointer: str, value: object, where: str) -> None:
        validator = self._validators.get(pointer)
        if validator is None:
            validator = self._validators[pointer] = Draft202012Validator(
                {"$ref": f"{DOCUMENT}#{quote(pointer, safe='/~')}"},
                registry=self._registry,
                format_checker=FormatChecker(),
            )
        problems = [f"{problem.json_path}: {problem.message}" for problem in validator.iter_errors(value)]
        if problems:
            raise SpecError(f"{where} does not fit {pointer}: {'; '.join(problems)[:2000]}")

    def _at(self, pointer: str) -> Any:
        value: Any = self._document
        for step in pointer.split("/")[1:]:
            value = value[step.replace("~1", "/").replace("~0", "~")]
        return value


def _contents(value: Any, pointer: str) -> list[tuple[str, Any]]:
    """Every media type object below, with its pointer."""
    found: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        for name, each in value.items():
            below = f"{pointer}/{_escape(name)}"
            if name == "content":
                found += [(f"{below}/{_escape(media)}", content) for media, content in each.items()]
            elif name not in ("schemas", "schema", "example", "examples"):
                found += _contents(each, below)
    return found


def _literal_first(templates: Mapping[str, Any]) -> list[str]:
    return sorted(templates, key=lambda template: template.count("{"))


def _as_pattern(template: str) -> re.Pattern[str]:
    steps = re.split(r"(\{\w+\})", template)
    return re.compile("".join("[^/]+" if step.startswith("{") else re.escape(step) for step in steps))


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
