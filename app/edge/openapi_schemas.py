"""The schemas of the OpenAPI document, in the forms that client generators read.

JSON Schema has several ways to say the same, and generators understand some of them only. Every schema of the document
passes through here, so whoever declares one need not know which. Validators see no difference, but for patterns, which
lose the control characters U+0080 to U+009F.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.edge.openapi_glossary import DESCRIPTIONS

JsonSchema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/"
_MEMBERS: Final = ("anyOf", "oneOf", "allOf")
_TYPES: Final = ((str, "string"), (bool, "boolean"), (int, "integer"), (float, "number"), (type(None), "null"))
_SEED_DEFAULTS: Final = frozenset({("ChatSendRequest", "enable_streaming")})
"""Defaults that the seed's document states, so that this one does too."""


def rewrite_schemas(document: dict[str, Any]) -> None:
    """Rewrite all schemas of a document in place.

    A schema with a `title` below another one becomes a component of that name. Raises ValueError for two different
    schemas of one name.
    """
    rewriter = _Rewriter()
    components = document["components"]
    components["schemas"] = {name: rewriter.component(schema) for name, schema in components["schemas"].items()}
    for holder in _holders(document):
        holder["schema"] = rewriter.schema(holder["schema"])
    for name, schema in rewriter.named.items():
        if components["schemas"].setdefault(name, schema) != schema:
            raise ValueError(f"two different schemas are named {name}")
    _discriminate(components["schemas"])
    _settle_defaults(document)
    for schema in components["schemas"].values():
        _describe(schema)


class _Rewriter:
    """Rewrites schemas; `named` are those that become components."""

    def __init__(self) -> None:
        self.named: dict[str, JsonSchema] = {}

    def schema(self, schema: Mapping[str, Any]) -> JsonSchema:
        """A schema, or a reference to it if it has a title."""
        if (name := schema.get("title")) is None:
            return self.component(schema)
        component = self.component({key: value for key, value in schema.items() if key != "title"})
        if self.named.setdefault(name, component) != component:
            raise ValueError(f"two different schemas are named {name}")
        return reference_to(name)

    def component(self, schema: Mapping[str, Any]) -> JsonSchema:
        """The schema itself; those below it may become references."""
        result = dict(schema)
        result.pop("title", None)
        for key in ("items", "additionalProperties"):
            if isinstance(result.get(key), Mapping):
                result[key] = self.schema(result[key])
        for key in _MEMBERS:
            if key in result:
                result[key] = [self.schema(_without_item_pattern(member)) for member in result[key]]
        if "properties" in result:
            result["properties"] = {name: _nullable(self.schema(each)) for name, each in result["properties"].items()}
        if not result.get("required", True):
            del result["required"]
        if "description" in result:
            result["description"] = _unindented(result["description"])
        if "pattern" in result:
            # Ruby and PHP match bytes, which these are not; `\Z` is Python's.
            result["pattern"] = result["pattern"].replace(r"\x7f-\x9f", r"\x7f").replace(r"\Z", "$")
        return _typed(_folded(result))


def reference_to(name: str) -> JsonSchema:
    return {"$ref": f"{_REFERENCE}{name}"}


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document, components' schemas and examples aside, with a member `schema`."""
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            yield value
        for name, each in value.items():
            if name not in ("schemas", "schema", "example", "examples"):
                yield from _holders(each)
    elif isinstance(value, list):
        for each in value:
            yield from _holders(each)


def _without_item_pattern(member: Mapping[str, Any]) -> Mapping[str, Any]:
    """A member of a union; Go's generator names a class after the pattern of a list's items there."""
    if isinstance(items := member.get("items"), Mapping) and "pattern" in items:
        return {**member, "items": {name: value for name, value in items.items() if name != "pattern"}}
    return member


def _nullable(schema: JsonSchema) -> JsonSchema:
    """A property; one that is always null is a constant: Python's generator stops at the type."""
    if schema.get("type") == "null":
        return {"const": None, **{name: value for name, value in schema.items() if name != "type"}}
    return schema


def _folded(schema: JsonSchema) -> JsonSchema:
    """A union with null as types: a generator writes what stands beside the union on all uses of its member."""
    for key in ("anyOf", "oneOf"):
        members = schema.get(key)
        if not members or {"type": "null"} not in members:
            continue
        others = [dict(member) for member in members if member != {"type": "null"}]
        scalar = next((member for member in others if "$ref" not in member and "type" in member), None)
        if scalar is None:
            return schema
        types = scalar["type"] if isinstance(scalar["type"], list) else [scalar["type"]]
        scalar["type"] = [*types, "null"]
        if "enum" in scalar:
            scalar["enum"] = [*scalar["enum"], None]
        if len(others) > 1:
            return {**schema, key: others}
        return {**scalar, **{name: value for name, value in schema.items() if name != key}}
    return schema


def _typed(schema: JsonSchema) -> JsonSchema:
    """Constants and enumerations with their types, without which they are anything."""
    if isinstance(schema.get("const"), bool):  # Java's generator takes the constant for a text
        schema = {"type": "boolean", **{name: value for name, value in schema.items() if name != "const"}}
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values and values != [None]:
        types = list(dict.fromkeys(next(name for kind, name in _TYPES if isinstance(value, kind)) for value in values))
        schema = {"type": types[0] if len(types) == 1 else sorted(types, key="null".__eq__), **schema}
    if len(schema.get("enum", ())) == 1 and schema.get("type") == "string":
        (constant,) = schema.pop("enum")
        schema["const"] = constant
    if "type" in schema and schema.get("const", "") is None:
        del schema["type"]
    return schema


def _unindented(text: str) -> str:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _discriminate(schemas: Mapping[str, JsonSchema]) -> None:
    """Name the member by which the kinds of a union are told apart: a constant `type`."""
    for schema in schemas.values():
        names = [member.get("$ref", "").removeprefix(_REFERENCE) for member in schema.get("oneOf", ())]
        kinds = [schemas.get(name, {}).get("properties", {}).get("type", {}).get("const") for name in names]
        if kinds and all(kinds) and len(set(kinds)) == len(kinds):
            mapping = {kind: f"{_REFERENCE}{name}" for kind, name in zip(kinds, names, strict=True)}
            schema["discriminator"] = {"propertyName": "type", "mapping": mapping}


def _settle_defaults(document: dict[str, Any]) -> None:
    """Say the defaults of requests in words, and require what answers always have.

    A generator that sees a default requires the field, or writes a null that is no value of its type.
    """
    schemas = document["components"]["schemas"]
    requested = _requested_schemas(document)
    for name, schema in schemas.items():
        for field, each in schema.get("properties", {}).items():
            if "default" not in each or (name, field) in _SEED_DEFAULTS:
                continue
            default = each.pop("default")
            if name not in requested:
                schema["required"] = [*schema.get("required", []), field]
            elif default not in (None, "", []):
                text = each.get("description") or DESCRIPTIONS.get(field, "")
                each["description"] = f"{text} Default: `{_literal(default)}`.".strip()


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _requested_schemas(document: Mapping[str, Any]) -> set[str]:
    """The components that a request may hold."""
    schemas = document["components"]["schemas"]
    names: set[str] = set()
    queue = [
        operation[part]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
        for part in ("requestBody", "receives")
        if part in operation
    ]
    while queue:
        for name in set(re.findall(rf"'\$ref': '{_REFERENCE}(\w+)'", str(queue.pop()))) - names:
            names.add(name)
            queue.append(schemas[name])
    return names


def _describe(schema: JsonSchema) -> None:
    """Describe fields without a description that mean the same wherever they occur."""
    for field, each in schema.get("properties", {}).items():
        if "$ref" not in each and "description" not in each and field in DESCRIPTIONS:
            each["description"] = DESCRIPTIONS[field]
