"""`palaver bots`: the bots of an AstrBot, and asking platforms who bots are."""

import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

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


AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
WEBHOOK = {"unified_webhook_mode": True, "webhook_uuid": "u-1", "port": 6195, "callback_server_host": "0.0.0.0"}
EVERY_PLATFORM: list[dict[str, Any]] = [
    {"type": "telegram", "telegram_token": TOKEN, "telegram_polling_restart_delay": 5, "start_message": "Hello"},
    {"type": "discord", "discord_token": "d.t.x", "discord_command_register": True, "discord_activity_name": ""},
    {"type": "slack", "bot_token": "xoxb-1", "app_token": "xapp-1", "signing_secret": "", **WEBHOOK}
    | {"slack_connection_mode": "socket", "slack_webhook_path": "/astrbot-slack-webhook/callback"},
    {"type": "lark", "app_id": "cli_1", "app_secret": "s", "domain": "https://open.feishu.cn", **WEBHOOK}
    | {"lark_connection_mode": "socket", "lark_encrypt_key": "", "lark_verification_token": ""},
    {"type": "dingtalk", "client_id": "ding", "client_secret": "s", "card_template_id": "c"},
    {"type": "wecom", "corpid": "ww1", "secret": "s", "token": "t", "encoding_aes_key": AES_KEY, "kf_name": ""}
    | WEBHOOK,
    {"type": "wecom_ai_bot", "wecom_ai_bot_connection_mode": "long_connection", "wecom_ai_bot_name": "Bot", **WEBHOOK}
    | {"wecomaibot_ws_bot_id": "aib", "wecomaibot_ws_secret": "s", "wecomaibot_heartbeat_interval": 30}
    | {"wecomaibot_ws_url": "wss://openws.work.weixin.qq.com", "wecomaibot_init_respond_text": "…"}
    | {"wecomaibot_token": "", "wecomaibot_encoding_aes_key": "", "wecomaibot_friend_message_welcome_text": ""}
    | {"msg_push_webhook_url": "", "only_use_webhook_url_to_send": False},
    {"type": "qq_official", "appid": "1", "secret": "s", "enable_group_c2c": True, "enable_guild_direct_message": True},
    {"type": "qq_official_webhook", "appid": "1", "secret": "s", "is_sandbox": False, **WEBHOOK},
    {"type": "aiocqhttp", "ws_reverse_host": "0.0.0.0", "ws_reverse_port": 6199, "ws_reverse_token": "t"},
    {"type": "line", "channel_access_token": "t", "channel_secret": "s", **WEBHOOK},
    {"type": "mattermost", "mattermost_url": "https://chat.example.com", "mattermost_bot_token": "t"}
    | {"mattermost_reconnect_delay": 5.0},
    {"type": "matrix", "matrix_homeserver": "https://matrix.example.com", "matrix_user_id": "@b:example.com"}
    | {"matrix_auth_method": "token", "matrix_access_token": "t"},
]


async def test_a_bot_of_each_platform_is_taken_over(tmp_path: Path) -> None:
    entries = [{"id": f"my_{each['type']}", "enable": True, **each} for each in EVERY_PLATFORM]
    file = tmp_path / "cmd_config.json"
    file.write_text(json.dumps({"platform": entries}))
    status, out, err = await palaver(tmp_path / "data", "bots", "import", str(file))
    made = {line.partition(":")[0].removeprefix("my_"): line for line in out.splitlines()}
    # AstrBot learns the number of an application from the first message to it.
    assert made.keys() == {str(each["type"]) for each in EVERY_PLATFORM} - {"wecom"}, err
    assert "my_wecom: config: " in err
    assert "agent_id" in err
    assert status == 1
    assert made["mattermost"].endswith("left out: mattermost_reconnect_delay")
    assert made["line"].endswith("left out: callback_server_host, port, unified_webhook_mode")
    assert made["dingtalk"].endswith("left out: card_template_id")
    assert "msg_push_webhook_url" not in made["wecom_ai_bot"]  # nothing was set


async def test_a_file_that_is_not_astrbots_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in ("[]", "{}", "not json"):
        file.write_text(text)
        status, out, err = await palaver(tmp_path / "data", "bots", "import", str(file))
        assert (status, out) == (1, "")
        assert len(err.strip().splitlines()) == 1
