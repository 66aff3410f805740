"""The kinds of bots there are: a new platform is a line here."""

from collections.abc import Callable, Sequence
from typing import Any

from app.bots.adapters.base import AdapterFactory
from app.bots.adapters.dingtalk import dingtalk_factory
from app.bots.adapters.discord import discord_factory
from app.bots.adapters.http import Network
from app.bots.adapters.lark import lark_factory
from app.bots.adapters.line import line_factory
from app.bots.adapters.matrix import matrix_factory
from app.bots.adapters.mattermost import mattermost_factory
from app.bots.adapters.onebot import onebot_factory
from app.bots.adapters.qq_official import qq_official_factory, qq_official_webhook_factory
from app.bots.adapters.slack import slack_factory
from app.bots.adapters.smtp import email_factory
from app.bots.adapters.telegram import telegram_factory
from app.bots.adapters.webhook import webhook_factory
from app.bots.adapters.wecom import wecom_factory
from app.bots.adapters.wecom_ai_bot import wecom_ai_bot_factory


def platform_factories(
    network: Network, *, count_webhook: Callable[[str], None] = lambda _outcome: None
) -> Sequence[AdapterFactory[Any]]:
    """Return the kinds of adapters, which reach their platforms through `network`."""
    return [
        webhook_factory(network, count=count_webhook),
        lark_factory(network),
        line_factory(network),
        matrix_factory(network),
        mattermost_factory(network),
        dingtalk_factory(network),
        wecom_factory(network),
        wecom_ai_bot_factory(network),
        telegram_factory(network),
        onebot_factory(network),
        discord_factory(network),
        slack_factory(network),
        qq_official_factory(network),
        qq_official_webhook_factory(network),
        email_factory(network),
    ]
