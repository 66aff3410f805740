"""The pages name the settings, routes, error codes and pages that exist."""

import re
from pathlib import Path

import pytest
from quart import Quart

from app.bootstrap import create_app
from app.doors.open_api.schemas import CHAT_EVENT
from app.edge.routes import routes
from app.settings import Settings, load_settings
from tests.docs.pages import PAGES, ROOT, anchors, headings, page, prose, section
from tools.settings_tables import PAGE, fill_tables, main

# Those of the examples and of the tests, and the one that is read before the settings.
OTHER_VARIABLES = {
    "PALAVER_URL",
    "PALAVER_KEY",
    "PALAVER_ADMIN_KEY",
    "PALAVER_CONFIG",
    "PALAVER_TEST_POSTGRES_URL",
    "PALAVER_TEST_DATABASE",
}
# Codes that a WebSocket replaces by its own.
INTERNAL_CODES = {"invalid_frame"}
# ARCHITECTURE.md follows the code when the layout has settled.
PAGES_BESIDES_ARCHITECTURE = [path for path in PAGES if path.name != "ARCHITECTURE.md"]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Quart:
    return create_app(load_settings(data_dir=tmp_path_factory.mktemp("data")))


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    text = page("docs/settings.md")
    assert text == fill_tables(text), "the tables are stale: run `make docs`"


def test_make_docs_replaces_stale_tables_and_changes_nothing_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "settings.md"
    stale.write_text(re.sub(r"^\| `PALAVER_PORT`.*\n", "", page("docs/settings.md"), flags=re.MULTILINE))
    monkeypatch.setattr("tools.settings_tables.PAGE", stale)
    for report in ("written", "up to date"):
        main()
        assert capsys.readouterr().out == f"docs/settings.md is {report}\n"
        assert stale.read_text() == PAGE.read_text()


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 250


def test_every_variable_that_is_named_is_a_setting() -> None:
    settings = {f"PALAVER_{name.upper()}" for name in Settings.model_fields}
    for path in PAGES:
        variables = set(re.findall(r"\bPALAVER_[A-Z_]+\b", path.read_text()))
        assert variables <= settings | OTHER_VARIABLES, path.name


def test_every_route_is_in_the_reference_and_no_other(app: Quart) -> None:
    existing = {("WS" if route.method == "WEBSOCKET" else route.method, route.path) for route in routes(app)}
    reference = set(re.findall(r"`(GET|POST|PATCH|DELETE|PUT|WS) (/[^\s`?]*)`", page("docs/api.md")))
    assert existing - reference == {("HEAD", "/api/v1/file"), ("HEAD", "/api/v1/files/{attachment_id}/content")}
    assert reference - existing == set()
    for path in PAGES:
        mentions = set(re.findall(r"`(GET|POST|PATCH|DELETE|PUT|WS) (/[^\s`?]*)`", path.read_text()))
        # A page may give an example's id in place of a parameter.
        patterns = {(method, re.sub(r"\{\w+\}", "[^/]+", rule)) for method, rule in existing}
        wrong = {(m, p) for m, p in mentions if not any(m == s and re.fullmatch(r, p) for s, r in patterns)}
        assert not wrong, path.name


def test_every_error_code_is_in_the_reference_and_no_other() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "app").rglob("*.py")))
    codes = set(re.findall(r'\bcode(?:=| = )"([a-z_]+)"', source)) - INTERNAL_CODES
    table = section(page("docs/errors.md"), "Error codes")
    reference = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))
    assert codes - reference == set()
    field_codes = {code for code in reference if re.fullmatch(r"invalid_\w+|username_empty", code)}
    assert {code for code in reference - field_codes if f'"{code}"' not in source} == set()


def test_every_event_is_in_the_reference() -> None:
    types = [event["properties"]["type"]["const"] for event in CHAT_EVENT["oneOf"]]
    assert re.findall(r"^\| `(\w+)` \|", section(page("docs/api.md"), "Events"), re.MULTILINE)[1:] == types


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("path", PAGES_BESIDES_ARCHITECTURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    files = re.findall(
        r"\b((?:app|bench|chaos|migrations|tests|tools|docs)/[\w/-]+\.(?:py|md|mjs))\b", path.read_text()
    )
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_every_decision_is_listed_once_under_its_title() -> None:
    entries = re.findall(r"^- (\d{4}): \[(.+)\]\((\1-[\w-]+\.md)\)", page("docs/decisions/README.md"), re.MULTILINE)
    titles = {path.name: path.read_text().partition("\n")[0] for path in DECISIONS}
    assert sorted((name, f"# {number}: {title}") for number, title, name in entries) == sorted(titles.items())


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_every_decision_has_the_form(path: Path) -> None:
    text = path.read_text()
    title, *sections = headings(text)
    assert title[1].startswith(f"{path.stem[:4]}: ")
    assert [name for rank, name in sections if rank == 2] == ["Context", "Decision", "Consequences"]
    status = text.splitlines()[2]
    assert re.fullmatch(r"Status: (Accepted|Superseded by \[\d{4}\]\().*\. Date: \d{4}-\d\d-\d\d\.", status)
