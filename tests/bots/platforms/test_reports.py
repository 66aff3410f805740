"""What users of other programs have reported, each as a test named for the report, where Palaver's core decides it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from app.bots.inbox.models import EventRow
from app.bots.outbox.models import DeliveryRow
from app.bots.outbox.worker import Outbox
from app.edge.services import service
from app.files.service import FileService
from tests.bots.platforms.conftest import BOT, Stage
from tests.bots.platforms.suite import _last_text
from tests.support.answers import reply
from tests.support.bots import OWNER
from tests.support.model_server import ModelServer
from tests.support.platforms.base import Fault
from tests.support.platforms.telegram import TelegramFake


@pytest.fixture(autouse=True)
def echo(model: ModelServer) -> None:
    model.default = lambda body: reply([_last_text(body["messages"][-1]["content"])])


class TestReports:
    fake_type = TelegramFake

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow": ["*"]}

    async def test_astrbot_6659_flood_control_leaves_no_half_sentence(self, stage: Stage, model: ModelServer) -> None:
        gate = asyncio.Event()
        model.script(reply(["Half a", " sentence, and its end."], gate=gate, hold_after=1))
        await stage.fake.receive("go", group=True)
        await stage.fake.until(lambda: stage.fake.texts(stage.fake.group) == ["Half a"])
        stage.fake.script = [Fault("rate_limited", after=1.0)] * 3
        gate.set()
        await stage.fake.until(
            lambda: stage.fake.texts(stage.fake.group) == ["Half a sentence, and its end."], seconds=20
        )

    async def test_astrbot_1646_a_long_code_answer_is_split_after_it_is_rendered(self, stage: Stage) -> None:
        code = "```python\n" + "\n".join(f"if a < {n} & b > {n}: pass" for n in range(300)) + "\n```"
        status, _ = await stage.send(code)
        assert status == 200
        assert len(stage.fake.texts()) > 1
        assert all(message.extra["formatted"] for message in stage.fake.seen())

    async def test_astrbot_6911_and_5848_one_message_is_handled_once(self, stage: Stage) -> None:
        for _ in range(3):
            await stage.fake.receive("once", times=4)
        await stage.fake.until(lambda: stage.fake.texts() == ["once"] * 3)
        await asyncio.sleep(0.3)
        assert stage.fake.texts() == ["once"] * 3

    async def test_astrbot_8314_and_5176_a_poll_that_hangs_silently_is_begun_again(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(stage.fake, TelegramFake)
        monkeypatch.setattr("app.bots.adapters.telegram.TelegramAdapter.silence_seconds", 0.4)
        stage.fake.silent = True
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"name": "silent"})
        fake = stage.fake
        polls = fake.polls
        await fake.until(lambda: fake.polls > polls)
        await stage.fake.receive("anybody?")
        stage.fake.silent = False
        await fake.until(lambda: fake.texts() == ["anybody?"], seconds=20)

    async def test_astrbot_8504_a_connection_is_made_again_however_often_it_fails(self, stage: Stage) -> None:
        assert isinstance(stage.fake, TelegramFake)
        stage.fake.pollers = 1  # another program polls
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"name": "again"})
        connection: dict[str, Any] | None = None
        async with asyncio.timeout(20):
            while connection is None or "another program" not in (connection["last_error"] or ""):
                _, answer = await stage.call("GET", f"/api/v1/bots/{BOT}")
                connection = answer["data"]["connection"]
                await asyncio.sleep(0.05)
        await stage.fake.receive("still there?")
        await asyncio.sleep(0.3)  # more failures than five
        stage.fake.pollers = 0
        await stage.fake.until(lambda: stage.fake.texts() == ["still there?"], seconds=20)

    async def test_nanobot_790_nothing_is_called_sent_that_was_not(self, stage: Stage) -> None:
        stage.fake.script = [Fault("refused")]
        status, answer = await stage.send("hello")
        assert (status, answer["data"]["state"]) == (502, "dead")
        _, answer = await stage.send("hello", delivery="queue")
        assert answer["data"]["state"] == "queued"

    async def test_astrbot_7907_and_7682_a_bare_id_is_refused_with_the_form_that_is_right(self, stage: Stage) -> None:
        body = {"umo": "12345", "message": "hello"}
        status, answer = await stage.call("POST", "/api/v1/im/message", body)
        assert (status, "platform_id:message_type:session_id" in answer["message"]) == (400, True)

    async def test_astrbot_2243_a_group_has_one_name(self, stage: Stage) -> None:
        body = {"umo": f"{BOT}:GROUP_MESSAGE:{stage.fake.group}", "message": "hello"}
        status, answer = await stage.call("POST", "/api/v1/im/message", body)
        assert (status, "GroupMessage" in answer["message"]) == (400, True)

    async def test_nanobot_2559_a_growing_reply_that_becomes_too_long_goes_on_in_another_message(
        self, stage: Stage, model: ModelServer
    ) -> None:
        words = [f"word{n} " for n in range(stage.fake.limit // 3)]
        model.script(reply(words, delay=0.0002))
        await stage.fake.receive("go on")
        await stage.fake.until(lambda: "".join("".join(stage.fake.texts()).split()) == "".join(words).replace(" ", ""))
        assert len(stage.fake.texts()) > 1

    async def test_hermes_58563_an_edit_shows_something_new(self, stage: Stage, model: ModelServer) -> None:
        gate = asyncio.Event()
        model.script(reply(["The beginning", " ", "\n", " and the end"], gate=gate, hold_after=3))
        await stage.fake.receive("go")
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning"])
        gate.set()
        await stage.fake.until(lambda: stage.fake.texts()[0].endswith("and the end"))
        assert [message.edits for message in stage.fake.seen()] == [1]

    async def test_larkin_66_two_senders_in_a_burst_have_an_answer_each(self, stage: Stage) -> None:
        await asyncio.gather(*(stage.fake.receive(f"I am {id}", sender=id, group=True) for id in ("42", "43")))
        group = stage.fake.group
        await stage.fake.until(lambda: sorted(text[-7:] for text in stage.fake.texts(group)) == ["I am 42", "I am 43"])

    async def test_openclaw_15636_what_waits_is_sent_after_a_restart(self, stage: Stage) -> None:
        await stage.outbox.close()
        assert (await stage.send("waiting", delivery="queue"))[0] == 202
        async with stage.server.app.app_context():
            files = service(FileService)
        again = Outbox(stage.server.core.database, stage.bots, files, OWNER, sole_owner=True)
        await again.open()
        await stage.fake.until(lambda: stage.fake.texts() == ["waiting"])
        await again.close()

    async def test_openclaw_29106_what_was_sent_is_not_sent_again_after_a_restart(self, stage: Stage) -> None:
        """openclaw 38552, 38668 and 96242 too."""
        for number in range(5):
            assert (await stage.send(f"{number}"))[0] == 200
        stage.fake.script = [Fault("hang_after")]
        await stage.send("unsure", delivery="queue")
        await stage.fake.until(lambda: "unsure" in stage.fake.texts())
        await stage.outbox.close()  # in the middle of it
        async with stage.server.app.app_context():
            files = service(FileService)
        again = Outbox(stage.server.core.database, stage.bots, files, OWNER, sole_owner=True)
        await again.open()
        database = stage.server.core.database
        async with asyncio.timeout(10):
            while "unknown" not in (
                states := await database.read(
                    lambda connection: list(connection.execute(select(DeliveryRow.state)).scalars())
                )
            ):
                await asyncio.sleep(0.05)
        await again.close()
        assert sorted(states) == ["sent"] * 5 + ["unknown"]
        assert stage.fake.texts() == ["0", "1", "2", "3", "4", "unsure"]

    async def test_openclaw_27939_what_was_seen_is_known_after_a_restart(self, stage: Stage) -> None:
        assert isinstance(stage.fake, TelegramFake)
        await stage.fake.receive("once")
        await stage.fake.until(lambda: stage.fake.texts() == ["once"])
        database = stage.server.core.database
        (event,) = await database.read(lambda connection: list(connection.execute(select(EventRow.dedupe_key))))
        number = int(event.dedupe_key.removeprefix("update:"))
        await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"name": "restarted"})
        await stage.fake.report({"update_id": number, "message": {"chat": {"id": 42}, "text": "once", "date": 0}})
        await stage.fake.receive("next")
        await stage.fake.until(lambda: stage.fake.texts() == ["once", "next"])

    async def test_codepilot_649_yesterdays_messages_are_not_answered_after_an_outage(self, stage: Stage) -> None:
        for hours in (24, 5, 1):
            await stage.fake.receive(f"{hours} hours ago", age_seconds=3600.0 * hours)
        await stage.fake.receive("now")
        await stage.fake.until(lambda: stage.fake.texts() == ["now"])

    async def test_one_chat_in_flood_control_holds_up_no_other(self, stage: Stage) -> None:
        stage.fake.script = [Fault("rate_limited", after=5.0)]
        _, first = await stage.send("waits", delivery="queue")
        await stage.fake.until(lambda: len(stage.fake.calls) == 1)
        assert (await stage.send("goes", group=True))[0] == 200
        assert (await stage.delivery(first))["state"] == "queued"

    async def test_telegram_mentions_after_an_emoji_are_cut_where_they_are(self, stage: Stage) -> None:
        await stage.fake.receive("what is this?", group=True)
        await stage.fake.until(lambda: len(stage.fake.seen(stage.fake.group)) == 1)
        assert stage.fake.texts(stage.fake.group) == ["Person 42: 😀 what is this?"]
