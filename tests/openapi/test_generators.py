"""The document in the forms that client generators read; each test is a fault that broke one of them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.bootstrap import EVENT_SCHEMAS, create_app
from app.edge.openapi import build_document
from app.settings import load_settings

SCHEMA_KEYS = ("items", "additionalProperties")
UNIONS = ("anyOf", "oneOf", "allOf")
GENERIC_CODES = {
    "bad_request",
    "unauthorized",
    "forbidden",
    "conflict",
    "unprocessable",
    "too_many_requests",
    "http_error",
    "bad_gateway",
    "unavailable",
}
"""Codes of the classes of errors, which no route sends: each refusal has one of its own."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return build_document(create_app(load_settings(data_dir=tmp_path_factory.mktemp("data"))), EVENT_SCHEMAS)


def schemas(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of the document, with its place."""
    for name, schema in document["components"]["schemas"].items():
        yield from below(f"#/{name}", schema)
    for path, schema in holders(document["paths"], ""):
        yield from below(path, schema)
    for path, schema in holders(document["components"]["responses"], "responses"):
        yield from below(path, schema)


def holders(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "schema":
                yield where, each
            elif name not in ("example", "examples"):
                yield from holders(each, f"{where}/{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from holders(each, f"{where}/{index}")


def below(where: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield where, schema
    for name, each in schema.get("properties", {}).items():
        yield from below(f"{where}/properties/{name}", each)
    for key in SCHEMA_KEYS:
        if isinstance(schema.get(key), dict):
            yield from below(f"{where}/{key}", schema[key])
    for key in UNIONS:
        for index, each in enumerate(schema.get(key, ())):
            yield from below(f"{where}/{key}/{index}", each)


def test_the_walk_reaches_the_whole_document(document: dict[str, Any]) -> None:
    places = [where for where, _ in schemas(document)]
    assert len(places) > 700
    assert "#/PlainEvent/properties/chain_type" in places
    assert any("/api/v1/chat/post/requestBody" in where for where in places)


def test_no_property_is_null_by_its_type(document: dict[str, Any]) -> None:
    """Python's generator writes no file at all, Go's and TypeScript's none that compile."""
    places = [where for where, schema in schemas(document) if schema.get("type") == "null"]
    assert [where for where in places if "/anyOf/" not in where] == []


def test_constants_and_enumerations_have_types(document: dict[str, Any]) -> None:
    """Without a type they are anything: events cannot be told apart."""
    places = [
        where
        for where, schema in schemas(document)
        if "type" not in schema and ("enum" in schema or schema.get("const") is not None)
    ]
    assert places == []
    untyped_null = [
        where
        for where, schema in schemas(document)
        if None in schema.get("enum", ()) and "null" not in schema.get("type", ())
    ]
    assert untyped_null == []


def test_nullable_scalars_are_no_unions(document: dict[str, Any]) -> None:
    """Generators write a description beside the union on every use of its member."""
    places = [
        where
        for where, schema in schemas(document)
        for key in UNIONS
        if {"type": "null"} in schema.get(key, ()) and not all("$ref" in each for each in schema[key][:-1])
    ]
    assert places == []


def test_defaults_are_told_in_words(document: dict[str, Any]) -> None:
    """TypeScript's generator requires a field with a default; the seed's document has the one."""
    places = [where for where, schema in schemas(document) if "default" in schema and "/parameters/" not in where]
    assert places == ["#/ChatSendRequest/properties/enable_streaming"]
    request = document["components"]["schemas"]["NewCollection"]["properties"]
    assert "default" not in request["description"]
    overlap = document["components"]["schemas"]["RotateApiKeyRequest"]["properties"]["overlap_seconds"]
    assert overlap["description"].endswith("Default: `0`.")


def test_an_answers_fields_with_a_default_are_always_there(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    assert "config_id" in components["ChatSessionItem"]["required"]
    assert {"object", "data"} <= set(components["OpenAIModelList"]["required"])


def test_patterns_are_ascii(document: dict[str, Any]) -> None:
    """Ruby does not load a pattern of bytes beyond ASCII; PHP refuses names of most languages by it."""
    patterns = [schema["pattern"] for _, schema in schemas(document) if "pattern" in schema]
    assert len(patterns) > 10
    assert [pattern for pattern in patterns if not pattern.isascii() or re.search(r"\\x[89a-f]", pattern)] == []


def test_items_of_a_union_have_no_pattern(document: dict[str, Any]) -> None:
    """Go's generator makes a name of it that does not compile."""
    assert [
        where for where, schema in schemas(document) if "/items" in where and "Of/" in where and "pattern" in schema
    ] == []


def test_no_boolean_is_a_constant(document: dict[str, Any]) -> None:
    """Java's generator takes it for a text."""
    assert [where for where, schema in schemas(document) if isinstance(schema.get("const"), bool)] == []


def test_every_object_with_fields_is_a_component(document: dict[str, Any]) -> None:
    """Else generators make up names: ChatEventOneOf3, and two of one name."""
    places = [where for where, schema in schemas(document) if schema.get("properties") and where.count("/") > 1]
    assert [where for where in places if "x-websocket" not in where] == []


def test_bodies_and_answers_in_json_are_components(document: dict[str, Any]) -> None:
    unnamed = [
        where
        for where, schema in holders(document["paths"], "")
        if where.endswith("/content/application/json") and "$ref" not in schema and "openapi" not in where
    ]
    assert unnamed == []


def test_events_are_told_apart_by_their_type(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    union = components["ChatEvent"]
    mapping = union["discriminator"]["mapping"]
    assert union["discriminator"]["propertyName"] == "type"
    assert list(mapping.values()) == [member["$ref"] for member in union["oneOf"]]
    for kind, reference in mapping.items():
        event = components[reference.rpartition("/")[2]]
        assert event["properties"]["type"]["const"] == kind
        assert "type" in event["required"]


def test_a_body_is_no_union_of_its_own_fields(document: dict[str, Any]) -> None:
    """Generators make a class of each member, and none of the fields beside."""
    assert [where for where, schema in schemas(document) if "properties" in schema and "anyOf" in schema] == []


def test_times_are_date_times(document: dict[str, Any]) -> None:
    places = [
        where
        for where, schema in schemas(document)
        if re.search(r"/properties/\w+(_at|_time)$", where) and "string" in schema.get("type", ())
    ]
    assert len(places) > 20
    components = dict(schemas(document))
    assert [where for where in places if components[where].get("format") != "date-time"] == []


def test_descriptions_of_schemas_are_not_indented(document: dict[str, Any]) -> None:
    """Markdown shows an indented line as code."""
    texts = [(where, schema.get("description", "")) for where, schema in schemas(document)]
    assert [where for where, text in texts if re.search(r"\n[ \t]", text)] == []


def test_every_field_is_described(document: dict[str, Any]) -> None:
    places = [
        where
        for where, schema in schemas(document)
        if re.search(r"/properties/\w+$", where) and "$ref" not in schema and not schema.get("description")
    ]
    assert places == [], 'Meta(description="..."), or a line in app/edge/openapi_glossary.py'


def test_no_list_of_required_fields_is_empty(document: dict[str, Any]) -> None:
    assert [where for where, schema in schemas(document) if schema.get("required") == []] == []


def test_the_usual_server_comes_first(document: dict[str, Any]) -> None:
    """Generators take the first one for the default, and a path alone for port 80."""
    assert document["servers"][0]["url"] == "http://localhost:6185"


def test_no_component_has_the_name_of_a_generators_own_class(document: dict[str, Any]) -> None:
    own = {"ApiError", "ApiException", "ApiClient", "Configuration", "ApiResponse", "Error", "Response", "Client"}
    assert own & set(document["components"]["schemas"]) == set()


def test_error_codes_are_those_that_are_sent(document: dict[str, Any]) -> None:
    responses = [
        (f"{method.upper()} {path} -> {status}", response)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
        for status, response in operation.get("responses", {}).items()
        if int(status) >= 400 and path != "/ready"
    ]
    responses += list(document["components"]["responses"].items())
    assert len(responses) > 200
    problems = []
    for where, response in responses:
        example = response.get("content", {}).get("application/json", {}).get("example", {})
        error = example.get("error")
        code = error["code"] if isinstance(error, dict) else example.get("code")
        codes = re.findall(r"`(\w+)`", response.get("description", ""))
        if GENERIC_CODES & {str(code), *codes}:
            problems.append(f"{where}: {code}")
        elif isinstance(code, str) and code not in codes:
            problems.append(f"{where}: {code} is not listed")
    assert problems == []
