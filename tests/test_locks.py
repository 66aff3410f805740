"""What is locked can be installed wherever the README says that Palaver runs."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_admits_the_first_python_3_11(lock: str) -> None:
    """Debian 12 has 3.11.2: a package that needs 3.11.5 ended `make run` there."""
    names = re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / lock).read_text(), re.MULTILINE)
    assert names
    needs = {name: str(metadata(name).json.get("requires_python", "")) for name in names}
    assert {name: need for name, need in needs.items() if not SpecifierSet(need).contains("3.11.0")} == {}
