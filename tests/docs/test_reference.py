"""What the pages say of settings, routes, codes and each other is what there is."""

import re
from pathlib import Path

import pytest
from quart import Quart

from app.bootstrap import create_app
from app.doors.open_api.schemas import CHAT_EVENT
from app.edge.routes import routes
from app.settings import Settings, load_settings
from tests.docs.pages import PAGES, ROOT, anchors, page, prose, section
from tools.settings_tables import filled

# Those of the examples, and the one that is read before there are settings.
OTHER_VARIABLES = {"PALAVER_URL", "PALAVER_KEY", "PALAVER_ADMIN_KEY", "PALAVER_CONFIG"}
# Codes that a WebSocket's own words take the place of.
UNSEEN_CODES = {"invalid_frame"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Quart:
    return create_app(load_settings(data_dir=tmp_path_factory.mktemp("data")))


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    text = page("README.md")
    assert text == filled(text), "make docs"


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {f"PALAVER_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    for path in PAGES:
        assert set(re.findall(r"\bPALAVER_[A-Z_]+\b", path.read_text())) <= known, path.name


def test_every_route_is_in_the_reference_and_no_other(app: Quart) -> None:
    there = {("WS" if route.method == "WEBSOCKET" else route.method, route.path) for route in routes(app)}
    named = set(re.findall(r"`(GET|POST|PATCH|DELETE|PUT|WS) (/[^\s`?]*)`", page("docs/api.md")))
    assert there - named == {("HEAD", "/api/v1/file"), ("HEAD", "/api/v1/files/{attachment_id}/content")}
    assert named - there == set()
    for path in PAGES:
        elsewhere = set(re.findall(r"`(GET|POST|PATCH|DELETE|PUT|WS) (/[^\s`?]*)`", path.read_text()))
        # A page may give an example's id in the place of a parameter.
        shapes = {(method, re.sub(r"\{\w+\}", "[^/]+", rule)) for method, rule in there}
        wrong = {(m, p) for m, p in elsewhere if not any(m == s and re.fullmatch(r, p) for s, r in shapes)}
        assert not wrong, path.name


def test_every_error_code_is_in_the_reference_and_no_other() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "app").rglob("*.py")))
    raised = set(re.findall(r'\bcode(?:=| = )"([a-z_]+)"', source)) - UNSEEN_CODES
    told = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (.+?) \|", _codes(), re.MULTILINE))))
    assert raised - told == set()
    made_of_a_field = {code for code in told if re.fullmatch(r"invalid_\w+|username_empty", code)}
    assert {code for code in told - made_of_a_field if f'"{code}"' not in source} == set()


def test_every_event_is_in_the_reference() -> None:
    types = [event["properties"]["type"]["const"] for event in CHAT_EVENT["oneOf"]]
    assert re.findall(r"^\| `(\w+)` \|", section(page("docs/api.md"), "Events"), re.MULTILINE)[1:] == types


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text()), target


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", page("docs/decisions/README.md"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def _codes() -> str:
    return section(page("docs/api.md"), "Error codes")
