"""The document in OpenAPI 3.0.3, for tools that know no 3.1."""

from collections.abc import Mapping
from typing import Any, Final

from app.edge.openapi_schemas import JsonSchema

_MEMBERS: Final = ("anyOf", "oneOf", "allOf")
_NOT_IN_3_0: Final = frozenset(
    {"contentMediaType", "contentEncoding", "contentSchema", "propertyNames", "x-event-schema"}
)
_NO_SCHEMAS: Final = frozenset({"example", "examples", "mapping"})


def as_openapi_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same operations and schemas in OpenAPI 3.0.3; what it cannot say is left out."""
    converted: dict[str, Any] = _converted(dict(document))
    schemas = {name: _schema(schema) for name, schema in document["components"]["schemas"].items()}
    converted["components"]["schemas"] = schemas
    converted["info"]["license"] = {"name": document["info"]["license"]["name"]}
    return {**converted, "openapi": "3.0.3"}


def _converted(value: Any) -> Any:
    """Any part of the document outside of components' schemas."""
    if isinstance(value, list):
        return [_converted(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return {"$ref": value["$ref"]}
    result = {}
    for name, each in value.items():
        if name == "schema":
            result[name] = _schema(each)
        elif name in _NO_SCHEMAS:
            result[name] = each
        elif name not in ("schemas", "x-websocket", *_NOT_IN_3_0):
            result[name] = _converted(each)
    return result


def _schema(schema: Mapping[str, Any]) -> JsonSchema:
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    result = {name: value for name, value in schema.items() if name not in _NOT_IN_3_0}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), Mapping):
            result[key] = _schema(result[key])
    for key in _MEMBERS:
        if key in result:
            result |= _union(key, result.pop(key))
    if "properties" in result:
        result["properties"] = {name: _schema(each) for name, each in result["properties"].items()}
        # Old generators refuse a required field that is null, whatever its schema says.
        nullable = {name for name, each in result["properties"].items() if each.get("nullable")}
        if required := [name for name in result.pop("required", ()) if name not in nullable]:
            result["required"] = required
    if "examples" in result:
        result.setdefault("example", result["examples"][0])
        del result["examples"]
    return _bounds(_types(_constant(result)))


def _union(key: str, members: list[Mapping[str, Any]]) -> JsonSchema:
    """A union; a reference or null is a reference that is nullable."""
    others = [_schema(member) for member in members if member.get("type") != "null"]
    nullable = {"nullable": True} if len(others) < len(members) else {}
    return {"allOf" if len(others) == 1 else key: others, **nullable}


def _constant(schema: JsonSchema) -> JsonSchema:
    if "const" not in schema:
        return schema
    constant = schema.pop("const")
    return {"nullable": True, **schema} if constant is None else {**schema, "enum": [constant]}


def _types(schema: JsonSchema) -> JsonSchema:
    types = schema.get("type")
    if not isinstance(types, list):
        return schema
    del schema["type"]
    names = [name for name in types if name != "null"]
    nullable = {"nullable": True} if len(names) < len(types) else {}
    if len(names) == 1:
        return {"type": names[0], **schema, **nullable}
    return {**schema, "anyOf": [{"type": name} for name in names], **nullable}


def _bounds(schema: JsonSchema) -> JsonSchema:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            schema[bound] = schema[exclusive]
            schema[exclusive] = True
    return schema
