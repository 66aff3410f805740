"""The dashboard's own files: its libraries, its texts, its modules."""

import hashlib
import json
import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "app/static/dashboard"


@pytest.mark.parametrize("folder", [STATIC / "vendor", Path(__file__).parent / "vendor"])
def test_vendored_files_are_those_of_the_lock(folder: Path) -> None:
    packages = json.loads((folder / "vendor.lock.json").read_text())
    locked = {name: digest for package in packages.values() for name, digest in package["files"].items()}
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.suffix in (".js", ".css")
    }
    assert found == locked
    for name, package in packages.items():
        assert package["version"]
        assert package["licence"]
        assert (folder / "licences" / f"{name.rpartition('/')[2]}.txt").is_file()


def _strings(name: str) -> dict[str, str]:
    return dict(re.findall(r'^  "([\w.]+)": "(.*)",$', (STATIC / "strings" / f"{name}.js").read_text(), re.MULTILINE))


def test_both_languages_have_the_same_texts() -> None:
    en, zh = _strings("en"), _strings("zh")
    assert en.keys() == zh.keys()
    for key, text in en.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", zh[key])), key


def test_modules_are_small_and_fetch_in_one_place() -> None:
    own = [path for path in STATIC.rglob("*.js") if "vendor" not in path.parts and "strings" not in path.parts]
    assert {
        path.name: len(path.read_text().splitlines()) for path in own if len(path.read_text().splitlines()) > 300
    } == {}
    callers = {
        str(path.relative_to(STATIC))
        for path in own
        if re.search(r"\bfetch\(|XMLHttpRequest|new WebSocket", path.read_text())
    }
    assert callers == {"api/http.js", "api/doctor.js"}


def test_what_is_in_the_local_storage_is_no_secret() -> None:
    texts = "\n".join(path.read_text() for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
    keys = set(re.findall(r"(?:local|session)Storage\.\w+\(([^),]+)", texts))
    assert keys == {"STORED", "USERNAME"}
    assert set(re.findall(r'(?:STORED|USERNAME) = "([^"]+)"', texts)) == {"palaver.language", "palaver.username"}
