"""A process that is killed while it sends, on each platform: nothing is seen twice, or lost without a word."""

from tests.bots.platforms.suite import CrashSuite
from tests.support.platforms.dingtalk import DingTalkFake
from tests.support.platforms.discord import DiscordFake
from tests.support.platforms.lark import LarkFake
from tests.support.platforms.line import LineFake
from tests.support.platforms.matrix import MatrixFake
from tests.support.platforms.mattermost import MattermostFake
from tests.support.platforms.onebot import OneBotFake
from tests.support.platforms.qq_official import QQOfficialFake
from tests.support.platforms.slack import SlackFake
from tests.support.platforms.smtp import SmtpFake
from tests.support.platforms.telegram import TelegramFake
from tests.support.platforms.wecom import WeComFake
from tests.support.platforms.wecom_ai_bot import WeComAiBotFake


class TestTelegram(CrashSuite):
    fake_type = TelegramFake


class TestOneBot(CrashSuite):
    fake_type = OneBotFake


class TestDiscord(CrashSuite):
    fake_type = DiscordFake
    is_keyed = True


class TestSlack(CrashSuite):
    fake_type = SlackFake
    is_keyed = True  # lost messages are found in the history


class TestLark(CrashSuite):
    fake_type = LarkFake
    is_keyed = True


class TestQQOfficial(CrashSuite):
    fake_type = QQOfficialFake


class TestDingTalk(CrashSuite):
    fake_type = DingTalkFake


class TestWeCom(CrashSuite):
    fake_type = WeComFake


class TestWeComAiBot(CrashSuite):
    fake_type = WeComAiBotFake


class TestMatrix(CrashSuite):
    fake_type = MatrixFake
    is_keyed = True


class TestLine(CrashSuite):
    fake_type = LineFake
    is_keyed = True


class TestMattermost(CrashSuite):
    fake_type = MattermostFake
    is_keyed = True


class TestEmail(CrashSuite):
    fake_type = SmtpFake
