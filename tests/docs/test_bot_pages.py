"""The pages of chat platforms: the settings that they show are taken as they are."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from app.bots.adapters.http import Network
from app.bots.platforms import platform_factories
from tests.docs.pages import ROOT

PAGES = sorted((ROOT / "docs/bots").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_settings_of_a_page_make_a_bot(path: Path) -> None:
    text = path.read_text()
    (block,) = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    bot = json.loads(block)
    assert bot["adapter"] == path.stem
    assert f"bots/{path.name}" in (ROOT / "docs/bots.md").read_text()
    (factory,) = [each for each in platform_factories(Network()) if each.name == bot["adapter"]]
    factory.build(bot["id"], msgspec.convert(bot["config"], factory.config_type))
