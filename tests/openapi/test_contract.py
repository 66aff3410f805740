"""Palaver's own document: every route declared, every example true, and nothing of the seed's schema lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from app.auth.scopes import Scope
from app.bootstrap import EVENT_SCHEMAS, create_app
from app.edge.openapi import build_document
from app.edge.operation import ANY_KEY, PUBLIC
from app.edge.routes import routes
from app.settings import load_settings
from tests.support.spec import SpecValidator

# Doors whose errors are in a shape of their own, and share none of the Open API's.
OTHER_ERRORS = {"OpenAI-compatible": "OpenAIError", "Second Me": "Kernel2Error"}
SEED = json.loads((Path(__file__).parents[1] / "data/open-api.seed.json").read_text())


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Quart:
    return create_app(load_settings(data_dir=tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def document(app: Quart) -> dict[str, Any]:
    return build_document(app, EVENT_SCHEMAS)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, each in item.items():
            if isinstance(each, dict):
                yield f"{method.upper()} {path}", each


def test_every_route_declares_a_scope_and_says_what_it_does_and_answers(app: Quart) -> None:
    missing = []
    for route in routes(app):
        where, declared = f"{route.method} {route.rule}", route.operation
        if declared is None:
            missing.append(f"{where}: everything")
            continue
        if declared.scope not in {PUBLIC, ANY_KEY, *Scope}:
            missing.append(f"{where}: a scope")
        missing += [f"{where}: {name}" for name in ("id", "summary", "description") if not getattr(declared, name)]
        if route.method == "WEBSOCKET":
            continue
        if not any(status < 400 for status in declared.answers):
            missing.append(f"{where}: an answer")
        missing += [f"{where}: what {status} is" for status, each in declared.answers.items() if not each.description]
    assert missing == []


def test_every_answer_has_an_example(document: dict[str, Any]) -> None:
    shown = {"application/json", "text/event-stream"}
    contents = [
        (f"{where}: {status} as {media_type}", content)
        for where, operation in operations(document)
        for status, answer in operation.get("responses", {}).items()
        for media_type, content in answer.get("content", {}).items()
        if media_type in shown
    ]
    assert len(contents) > 100
    assert [where for where, content in contents if content.get("example", content.get("examples")) is None] == []


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    validator = SpecValidator(document)
    validator.check_examples()
    assert "ChatEvent" in document["components"]["schemas"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, each in value.items():
                if name == "$ref":
                    yield each
                else:
                    yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    known = {f"#/components/{section}/{name}" for section, named in document["components"].items() for name in named}
    assert set(references(document)) <= known


def test_every_component_is_used(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    unused = [
        name
        for section in ("schemas", "responses", "headers")
        for name in document["components"][section]
        if f'"#/components/{section}/{name}"' not in text
    ]
    assert unused == []


def test_each_key_protected_operation_documents_401_and_403(document: dict[str, Any]) -> None:
    for where, each in operations(document):
        own = next((shape for tag, shape in OTHER_ERRORS.items() if tag in each["tags"]), None)
        if own is not None:
            for status in ("401", "403"):
                schema = each["responses"][status]["content"]["application/json"]["schema"]
                assert schema == {"$ref": f"#/components/schemas/{own}"}, where
        elif each.get("security"):
            assert each["responses"]["401"]["$ref"] == "#/components/responses/Unauthorized", where
            assert each["responses"]["403"]["$ref"] == "#/components/responses/Forbidden", where


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, item in SEED["paths"].items() for method in item]
)
def test_an_operation_of_the_seed_is_there_with_its_parameters_and_answers(
    document: dict[str, Any], path: str, method: str
) -> None:
    theirs, ours = SEED["paths"][path][method], document["paths"][path][method]

    assert set(theirs["tags"]) <= set(ours["tags"])
    assert theirs["summary"] == ours["summary"]
    assert all(each in ours["security"] for each in theirs["security"])
    our_params = {(each["name"], each["in"]): each for each in ours.get("parameters", [])}
    for each in theirs.get("parameters", []):
        mine = our_params[each["name"], each["in"]]
        assert mine["required"] == each.get("required", False)
        assert mine["schema"]["type"] == each["schema"]["type"]
    for status, answer in theirs["responses"].items():
        mine = ours["responses"][status]
        assert answer.get("$ref") == mine.get("$ref")
        assert set(answer.get("content", {})) <= set(mine.get("content", {}))
        for media_type, content in answer.get("content", {}).items():
            if "$ref" in content["schema"]:
                assert mine["content"][media_type]["schema"] == content["schema"]
    for media_type in theirs.get("requestBody", {}).get("content", {}):
        assert media_type in ours["requestBody"]["content"]


@pytest.mark.parametrize("name", SEED["components"]["schemas"])
def test_a_schema_of_the_seed_is_there_with_its_properties(document: dict[str, Any], name: str) -> None:
    theirs, ours = SEED["components"]["schemas"][name], document["components"]["schemas"][name]

    assert set(theirs["properties"]) <= set(ours["properties"])
    assert set(theirs.get("required", [])) <= set(ours.get("required", []))
    data = theirs["properties"].get("data")
    if data is not None and "properties" in data:
        mine = ours["properties"]["data"]
        if "$ref" in mine:
            mine = document["components"]["schemas"][mine["$ref"].rpartition("/")[2]]
        assert set(data["properties"]) <= set(mine["properties"])


@pytest.mark.parametrize("name", SEED["components"]["responses"])
def test_a_shared_answer_of_the_seed_is_there(document: dict[str, Any], name: str) -> None:
    assert name in document["components"]["responses"]
    assert (
        document["components"]["securitySchemes"]["ApiKeyHeader"]
        == SEED["components"]["securitySchemes"]["ApiKeyHeader"]
    )
