"""The document that is made of the routes."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Quart

from app.edge.openapi import build_document, render
from app.edge.operation import PUBLIC, Answer, Body, Param, operation, refusal
from app.edge.schemas import example, example_of
from tests.support.spec import SpecError, SpecValidator


class Item(msgspec.Struct):
    """A thing."""

    name: str
    size: int | None = None


class Part(msgspec.Struct):
    name: Annotated[str, example("hinge")]


class Items(msgspec.Struct):
    items: list[Item]


class Shelf(msgspec.Struct):
    """Every way of a field to its example."""

    label: Annotated[str, Meta(max_length=9), example("A1")]
    first: Part
    parts: list[Part]
    notes: list[str]
    owner: str | None
    full: bool = False
    tags: list[str] = []
    weight: float | UnsetType = UNSET


class Hello(msgspec.Struct, tag="hello"):
    data: str


class End(msgspec.Struct, tag="end"):
    data: None = None


def example_app() -> Quart:
    app = Quart("tests", static_folder=None)
    blueprint = Blueprint("things", __name__)

    @blueprint.get("/api/v1/things/<string:thing_id>/at/<int:place>")
    @operation(
        "getThing",
        "Get a thing",
        scope="chat",
        description="Gets it.",
        answers={
            200: Answer("It", Item, envelope="ApiResponseItem", example={"name": "a"}, headers={"ETag": "Its version."})
        },
        errors={
            404: refusal("Thing not found", "thing_not_found", "place_not_found"),
            403: refusal("That is not yours", "not_yours"),
            503: refusal("Not now", "unavailable"),
        },
        params=[
            Param("verbose", "Say more.", {"type": "boolean"}),
            Param("thing_id", "Which.", {"type": "string", "maxLength": 9}, where="path"),
        ],
    )
    async def get_thing(thing_id: str, place: int) -> Any: ...

    @blueprint.post("/api/v1/things")
    @operation(
        "addThing",
        "Add a thing",
        scope="chat",
        description="Adds it.",
        body=Body(Item, examples={"small": {"name": "a", "size": 1}}),
        answers={201: Answer("All", Items, envelope="ApiResponseItems", example={"items": [{"name": "a"}]})},
    )
    async def add_thing() -> Any: ...

    @blueprint.post("/api/v1/talk")
    @operation(
        "talk",
        "Talk",
        scope="chat",
        description="Talks.",
        answers={200: Answer("SSE stream", media_type="text/event-stream", example=[{"type": "hello", "data": "a"}])},
    )
    async def talk() -> Any: ...

    @blueprint.websocket("/api/v1/socket")
    @operation("socket", "A socket", scope="chat", description="Both ways.", answers={})
    async def socket() -> None: ...

    @blueprint.get("/open")
    @operation(
        "open", "Open", scope=PUBLIC, description="For all.", answers={200: Answer("Yes", Item, example={"name": "a"})}
    )
    async def open_to_all() -> Any: ...

    @blueprint.route("/head", methods=["HEAD"])
    @operation("head", "Head", scope=PUBLIC, description="Only that.", answers={204: Answer("Yes")})
    async def head() -> Any: ...

    app.register_blueprint(blueprint)
    return app


@pytest.fixture
def document() -> dict[str, Any]:
    return build_document(example_app(), {"ChatEvent": Hello | End, "Note": {"type": "string"}})


def test_it_is_openapi_3_1_and_the_same_every_time(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == sorted(document["paths"])
    again = build_document(example_app(), {"ChatEvent": Hello | End, "Note": {"type": "string"}})
    assert render(document) == render(again)
    assert json.loads(render(document)) == document
    assert render(document).endswith("}\n")


def test_an_operation_says_what_the_view_declares(document: dict[str, Any]) -> None:
    get = document["paths"]["/api/v1/things/{thing_id}/at/{place}"]["get"]

    assert (get["operationId"], get["summary"], get["tags"]) == ("getThing", "Get a thing", ["Open API"])
    assert get["x-required-scope"] == "chat"
    assert get["description"] == "Gets it.\n\nRequired scope: `chat`."
    assert get["security"] == [{"ApiKeyHeader": []}, {"BearerAuth": []}]
    assert [(each["name"], each["in"], each["required"]) for each in get["parameters"]] == [
        ("thing_id", "path", True),
        ("place", "path", True),
        ("verbose", "query", False),
    ]
    assert get["parameters"][0]["schema"] == {"type": "string", "maxLength": 9}
    assert get["parameters"][1]["schema"] == {"type": "integer", "minimum": 0}


def test_an_envelope_becomes_a_component(document: dict[str, Any]) -> None:
    answer = document["paths"]["/api/v1/things/{thing_id}/at/{place}"]["get"]["responses"]["200"]

    content = answer["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/ApiResponseItem"}
    assert content["example"] == {"status": "ok", "message": None, "data": {"name": "a"}}
    assert set(answer["headers"]) == {"X-Request-ID", "ETag"}
    component = document["components"]["schemas"]["ApiResponseItem"]
    assert component["properties"]["data"] == {"$ref": "#/components/schemas/Item"}
    assert component["properties"]["message"]["type"] == ["string", "null"]
    assert component["properties"]["status"]["example"] == "ok"


def test_errors_have_the_operations_own_message_and_keys_have_the_shared_ones(document: dict[str, Any]) -> None:
    answers = document["paths"]["/api/v1/things/{thing_id}/at/{place}"]["get"]["responses"]

    assert list(answers) == ["200", "401", "403", "404", "503"]
    assert answers["401"] == {"$ref": "#/components/responses/Unauthorized"}
    assert answers["403"] == {
        "$ref": "#/components/responses/Forbidden",
        "description": "Forbidden: That is not yours. Codes: `not_yours`, `insufficient_scope`, `origin_not_allowed`, "
        "`browser_header_missing`, `key_blocked`, `address_not_allowed`.",
    }
    example = answers["404"]["content"]["application/json"]["example"]
    assert (example["message"], example["code"], example["data"]) == ("Thing not found", "thing_not_found", None)
    assert set(answers["503"]["headers"]) == {"X-Request-ID", "Retry-After"}
    shared = document["components"]["responses"]["Unauthorized"]["content"]["application/json"]
    assert shared["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
    assert shared["example"]["message"] == "Missing API key"


def test_a_json_body_brings_the_errors_that_every_json_body_can_meet(document: dict[str, Any]) -> None:
    post = document["paths"]["/api/v1/things"]["post"]

    assert list(post["responses"]) == ["201", "400", "401", "403", "413", "415"]
    assert post["requestBody"]["content"]["application/json"] == {
        "schema": {"$ref": "#/components/schemas/Item"},
        "examples": {"small": {"value": {"name": "a", "size": 1}}},
    }


def test_a_stream_names_the_schema_of_its_events(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/v1/talk"]["post"]["responses"]["200"]["content"]["text/event-stream"]

    assert content == {
        "schema": {"type": "string"},
        "example": 'data: {"type": "hello", "data": "a"}\n\n',
        "x-event-schema": {"$ref": "#/components/schemas/ChatEvent"},
    }
    assert document["components"]["schemas"]["Note"] == {"type": "string"}


def test_a_websocket_is_described_beside_the_operations(document: dict[str, Any]) -> None:
    item = document["paths"]["/api/v1/socket"]

    assert set(item) == {"summary", "description", "x-websocket"}
    assert item["x-websocket"]["x-required-scope"] == "chat"
    assert item["x-websocket"]["sends"] == [{"schema": {"$ref": "#/components/schemas/ChatEvent"}}]


def test_a_public_operation_needs_no_key_and_the_frameworks_own_methods_are_left_out(document: dict[str, Any]) -> None:
    item = document["paths"]["/open"]

    assert list(item) == ["get"]
    assert item["get"]["security"] == []
    assert list(item["get"]["responses"]) == ["200"]
    assert list(document["paths"]["/head"]) == ["head"]


def test_a_route_that_declares_nothing_is_refused() -> None:
    app = example_app()

    @app.get("/forgotten")
    async def forgotten() -> Any: ...

    with pytest.raises(ValueError, match="GET /forgotten declares no operation"):
        build_document(app)


def test_an_operation_id_used_twice_is_refused() -> None:
    app = example_app()

    @app.get("/other")
    @operation("open", "Open", scope=PUBLIC, description="Again.", answers={})
    async def other() -> Any: ...

    with pytest.raises(ValueError, match="operation id open is used by GET /open and by GET /other"):
        build_document(app)


def test_two_schemas_of_one_name_are_refused() -> None:
    app = example_app()

    @app.get("/other")
    @operation(
        "other", "O", scope=PUBLIC, description="O.", answers={200: Answer("A", Items, envelope="ApiResponseItem")}
    )
    async def other() -> Any: ...

    with pytest.raises(ValueError, match="two different schemas are named ApiResponseItem"):
        build_document(app)


def test_an_answer_without_an_example_has_that_of_its_fields() -> None:
    app = example_app()

    @app.get("/shelf")
    @operation("shelf", "S", scope=PUBLIC, description="S.", answers={200: Answer("A", Shelf)})
    async def shelf() -> Any: ...

    document = build_document(app)

    expected = {
        "label": "A1",
        "first": {"name": "hinge"},
        "parts": [{"name": "hinge"}],
        "notes": [],
        "owner": None,
        "full": False,
        "tags": [],
    }
    assert document["paths"]["/shelf"]["get"]["responses"]["200"]["content"]["application/json"]["example"] == expected
    assert document["components"]["schemas"]["Shelf"]["properties"]["label"] == {"type": "string", "maxLength": 9}
    assert example_of(Shelf, label="B2", weight=1.5) == {**expected, "label": "B2", "weight": 1.5}
    with pytest.raises(ValueError, match="name has no example"):
        example_of(Item)


def test_the_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    SpecValidator(document).check_examples()

    document["paths"]["/open"]["get"]["responses"]["200"]["content"]["application/json"]["example"] = {"name": 1}
    with pytest.raises(SpecError, match="1 is not of type 'string'"):
        SpecValidator(document).check_examples()


def _error(status: str = "error", code: str = "not_found") -> bytes:
    return json.dumps({"status": status, "message": "m", "data": None, "code": code, "request_id": "r"}).encode()


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        ("GET", "/open", 200, "application/json", b'{"name": "a"}'),
        ("HEAD", "/open", 200, "application/json", b""),
        ("HEAD", "/head", 204, None, b""),
        ("OPTIONS", "/open", 200, None, b""),
        ("GET", "/api/v1/things/a/at/1", 404, "application/json", _error(code="place_not_found")),
        ("GET", "/api/v1/things/a/at/1", 401, "application/json; charset=utf-8", _error(code="invalid_api_key")),
        ("POST", "/api/v1/talk", 200, "text/event-stream", b"data: {}\n\n"),
        ("GET", "/api/v1/nowhere", 404, "application/json", _error()),
        ("DELETE", "/api/v1/things", 405, "application/json", _error(code="method_not_allowed")),
    ],
)
def test_a_documented_answer_passes(
    document: dict[str, Any], method: str, path: str, status: int, content_type: str | None, body: bytes
) -> None:
    validator = SpecValidator(document)
    validator.check(method, path, status, content_type, body)
    assert path.startswith("/")


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body", "why"),
    [
        ("GET", "/open", 201, "application/json", b'{"name": "a"}', "status is not documented"),
        ("GET", "/open", 200, "application/json", b'{"name": 1}', "not of type 'string'"),
        ("GET", "/open", 200, "application/json", b"{", "not JSON"),
        ("GET", "/open", 200, "text/html", b"<p>", "text/html is not documented"),
        ("HEAD", "/head", 200, None, b"", "status is not documented"),
        ("GET", "/api/v1/things/a/at/1", 404, "application/json", _error(status="ok"), "'error' was expected"),
        ("GET", "/api/v1/things/a/at/1", 404, "application/json", _error(), "the code not_found is not documented"),
        ("GET", "/api/v1/nowhere", 404, "text/html", b"<p>", "is not JSON"),
        ("GET", "/api/v1/nowhere", 200, "application/json", b"{}", "no such operation"),
        ("DELETE", "/api/v1/things", 405, "application/json", _error(), "the code is not_found"),
    ],
)
def test_any_other_answer_is_a_violation(
    document: dict[str, Any], method: str, path: str, status: int, content_type: str | None, body: bytes, why: str
) -> None:
    with pytest.raises(SpecError, match=why):
        SpecValidator(document).check(method, path, status, content_type, body)


def test_events_are_held_against_chat_event(document: dict[str, Any]) -> None:
    validator = SpecValidator(document)
    validator.check_event({"type": "hello", "data": "a"})
    with pytest.raises(SpecError):
        validator.check_event({"type": "goodbye"})

    SpecValidator(build_document(example_app())).check_event({"type": "anything"})


def test_the_seed_kept_for_the_tests_is_the_one_that_was_published() -> None:
    published = Path(__file__).parents[3] / "shared/contract/open-api.seed.json"
    if not published.is_file():
        pytest.skip("the published schema is not beside this checkout")
    kept = Path(__file__).parents[1] / "data/open-api.seed.json"
    assert kept.read_bytes() == published.read_bytes()
