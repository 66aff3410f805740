"""`palaver bots`: the bots of an AstrBot, and asking platforms who bots are."""

import json
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.support.platforms.base import serving
from tests.support.platforms.telegram import TOKEN, TelegramFake
from tests.support.programs import plain_environment, start_palaver

ASTRBOT: dict[str, list[dict[str, object]]] = {
    "platform": [
        {
            "id": "tg",
            "type": "telegram",
            "enable": True,
            "telegram_token": TOKEN,
            "telegram_api_base_url": "https://api.telegram.org/bot",
            "telegram_file_base_url": "https://api.telegram.org/file/bot",
            "telegram_command_register": True,
        },
        {"id": "off", "type": "discord", "enable": False, "discord_token": "d.t.x", "discord_proxy": ""},
        {"id": "strange", "type": "carrier_pigeon", "enable": True},
    ]
}


async def palaver(data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {"PALAVER_DATA_DIR": str(data_dir), "PALAVER_WEBHOOK_ALLOW_PRIVATE": "true"}
    process = await start_palaver(*arguments, environment={**plain_environment(), **environment}, stderr=PIPE)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_bots_of_an_astrbot_are_taken_over_and_can_be_checked(tmp_path: Path) -> None:
    fake = TelegramFake()
    async with serving(fake):
        ASTRBOT["platform"][0]["telegram_api_base_url"] = f"{fake.url}/bot"
        ASTRBOT["platform"][0]["telegram_file_base_url"] = f"{fake.url}/file/bot"
        file = tmp_path / "cmd_config.json"
        file.write_text("\ufeff" + json.dumps(ASTRBOT))
        data_dir = tmp_path / "data"
        status, out, err = await palaver(data_dir, "bots", "import", str(file))
        assert status == 1
        assert out.splitlines()[0] == "tg: telegram, enabled; left out: telegram_command_register"
        assert out.splitlines()[1].startswith("off: discord, disabled")
        assert "strange: there is no kind 'carrier_pigeon'" in err
        assert TOKEN not in out + err
        assert await palaver(data_dir, "bots", "check", "tg") == (0, "Palaver (7)\n", "")
        status, _, err = await palaver(data_dir, "bots", "check", "nobody")
        assert (status, "Bot not found" in err) == (1, True)


async def test_a_file_that_is_not_astrbots_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in ("[]", "{}", "not json"):
        file.write_text(text)
        status, out, err = await palaver(tmp_path / "data", "bots", "import", str(file))
        assert (status, out) == (1, "")
        assert len(err.strip().splitlines()) == 1
